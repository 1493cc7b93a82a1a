//! `clustr run`: the primary, in the foreground, or started in the background by [`detach`].
//!
//! Owns the order: take what the process was started with, make the plan, hand it over. Never sees a worker.

use clustr_core::Verdict;
use clustr_net::inherited;
use clustr_supervisor::config::LogFile;
use clustr_supervisor::{StartError, Supervisor};

use super::{detach, plan};
use crate::args::RunArgs;
use crate::exit_code;
use crate::failure::Failure;
use crate::render;

pub(super) fn run(args: RunArgs) -> Result<u8, Failure> {
    if args.detach && args.detached.is_none() {
        return detach::run(args);
    }
    // Before anything opens a descriptor of its own: what is open now is what we were given.
    let inherited = inherited::take(inherited::FIRST..).map_err(Failure::Inherited)?;
    if let Some(parent) = args.options.die_with_parent {
        end_with(parent)?;
    }
    let (mut plans, origin) = plan::gather(args.from, args.options, args.command, inherited)?;
    if let (Some(path), Some(first)) = (args.detached, plans.first_mut()) {
        detach::leave_terminal();
        first.config.log_file = Some(LogFile { path, bytes_max: detach::LOG_BYTES_MAX });
    }
    for (what, instead) in plans.iter().filter_map(|plan| plan.odd.as_ref()) {
        render::warning(what, instead);
    }
    let name = plan::primary_name(&plans, origin.as_ref());
    let apps = plans.into_iter().map(|plan| plan.config).collect();
    let supervisor = match Supervisor::of_apps(&name, apps) {
        Err(StartError::Stopped) => return Ok(exit_code::DONE),
        made => made?,
    };
    match supervisor.run()? {
        Verdict::Finished | Verdict::Stopped => Ok(exit_code::DONE),
        Verdict::GaveUp => Ok(exit_code::FAILED),
    }
}

/// The kernel sends the signal when the parent ends (prctl(2), `PR_SET_PDEATHSIG`), unless it has ended already.
fn end_with(parent: i32) -> Result<(), Failure> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|error| Failure::Parent(error.into()))?;
    let is_there = rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == parent);
    if is_there { Ok(()) } else { Err(Failure::Parent(std::io::ErrorKind::NotFound.into())) }
}
