//! The settings of peers that want a file.
//!
//! Owns their texts, as their manuals show them.

use std::path::Path;

use super::{App, Fleet, Peers};

pub(super) fn nginx(folder: &Path, port: &str, workers: &str, app: App) -> String {
    let folder = folder.display();
    let body = match app {
        App::Hello | App::Announce => "hello",
        App::Pid => "$pid",
    };
    format!(
        "daemon off;\nworker_processes {workers};\npid {folder}/pid;\nerror_log stderr error;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
         fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n  \
         default_type text/plain;\n  \
         server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 \"{body}\\n\"; }} }}\n}}\n"
    )
}

pub(super) fn circus(folder: &Path, port: &str, workers: &str, fleet: &Fleet<'_>) -> String {
    let folder = folder.display();
    let [listening, app] = Peers::on_descriptor(fleet.app);
    format!(
        "[circus]\nendpoint = ipc://{folder}/endpoint\npubsub_endpoint = ipc://{folder}/pubsub\n\n\
         [watcher:app]\ncmd = node {listening} {app} $(circus.sockets.web)\nnumprocesses = {workers}\n\
         use_sockets = True\ncopy_env = True\n\n[socket:web]\nhost = 127.0.0.1\nport = {port}\nbacklog = 4096\n"
    )
}

pub(super) fn supervisord(folder: &Path, port: &str, fleet: &Fleet<'_>) -> String {
    let folder = folder.display();
    let [listening, app] = Peers::on_descriptor(fleet.app);
    let workers = fleet.workers;
    format!(
        "[supervisord]\nlogfile = {folder}/log\npidfile = {folder}/pid\nchildlogdir = {folder}\n\n\
         [fcgi-program:app]\nsocket = tcp://127.0.0.1:{port}\ncommand = node {listening} {app} 0\n\
         numprocs = {workers}\nprocess_name = %(program_name)s_%(process_num)02d\nautorestart = true\n\
         stdout_logfile = NONE\nstderr_logfile = NONE\n"
    )
}

/// circus with so many of a program that is no server.
pub(super) fn circus_of(folder: &Path, workers: u32, command: &[&str]) -> String {
    let folder = folder.display();
    let command = command.join(" ");
    format!(
        "[circus]\nendpoint = ipc://{folder}/endpoint\npubsub_endpoint = ipc://{folder}/pubsub\n\n\
         [watcher:app]\ncmd = {command}\nnumprocesses = {workers}\ncopy_env = True\n"
    )
}

/// supervisord with so many of a program that is no server.
pub(super) fn supervisord_of(folder: &Path, workers: u32, command: &[&str]) -> String {
    let folder = folder.display();
    let command = command.join(" ");
    format!(
        "[supervisord]\nlogfile = {folder}/log\npidfile = {folder}/pid\nchildlogdir = {folder}\nminfds = 4096\n\n\
         [program:app]\ncommand = {command}\nnumprocs = {workers}\n\
         process_name = %(program_name)s_%(process_num)03d\nautorestart = true\n\
         stdout_logfile = NONE\nstderr_logfile = NONE\n"
    )
}
