//! What workers say to their primary, as a subscriber of its news hears it.

use clustr_benches::{http, wait};
use serde_json::{Value, json};

use crate::harness::control::Control;
use crate::harness::ensure;
use crate::harness::node::on_each_node;
use crate::harness::{Run, SOON, v4};

#[test]
fn messages_of_every_kind_are_heard_in_order() {
    on_each_node("user messages", |node| {
        let mut primary =
            Run::app(node, "messages.js").workers(1).options(&["--ready", "message"]).start()?;
        primary.wait_ready(1)?;
        let mut control = subscriber(&primary.socket_path()?)?;
        http::get(primary.address(), "/")?;
        let heard = messages_until(&mut control, |text| text == "\"last\"")?;
        let expected = [
            json!("text"),
            json!(42),
            json!(true),
            Value::Null,
            json!({ "cmd": "NODE_" }),
            json!({ "deep": ["ünïcödé", "日本", "\u{2028}"] }),
        ];
        ensure!(heard.len() == 8, "messages: {heard:?}");
        for (text, value) in heard.iter().zip(&expected) {
            ensure!(
                serde_json::from_str::<Value>(text).ok().as_ref() == Some(value),
                "{text} is not {value}"
            );
        }
        ensure!(
            heard[6].starts_with("\"xxxx") && heard[6].len() == 64 << 10,
            "200 kB: {} bytes",
            heard[6].len()
        );
        primary.stop()
    });
}

#[test]
fn a_connection_that_is_sent_to_us_does_not_silence_its_worker() {
    on_each_node("handles to the primary", |node| {
        let mut primary = Run::app(node, "handles.js").workers(1).start()?;
        primary.wait_ready(1)?;
        let mut control = subscriber(&primary.socket_path()?)?;
        http::get(primary.address(), "/")?;
        let heard = messages_until(&mut control, |text| text.contains("number 5"))?;
        let word =
            |text: &String| Some(serde_json::from_str::<Value>(text).ok()?["word"].as_str()?.to_owned());
        let words: Vec<String> = heard.iter().filter_map(word).filter(|word| word.starts_with('n')).collect();
        ensure!(words == [1, 2, 3, 4, 5].map(|number| format!("number {number}")), "order: {words:?}");
        let last = v4(primary.port() + 1);
        wait::until_true("the server that was asked for last", SOON, || http::get(last, "/").is_ok())?;
        primary.stop()
    });
}

fn subscriber(path: &std::path::Path) -> Result<Control, String> {
    let mut control = Control::connect(path)?;
    let answer = control.ask(r#"{"id":1,"cmd":"subscribe"}"#)?;
    ensure!(answer["ok"] == true, "subscribe: {answer}");
    Ok(control)
}

/// The messages of workers, up to one that is the last.
fn messages_until(control: &mut Control, is_last: impl Fn(&str) -> bool) -> Result<Vec<String>, String> {
    let mut heard = Vec::new();
    loop {
        let line = control.read().map_err(|why| format!("{why}; heard so far: {heard:?}"))?;
        if let Some(text) = line["news"]["json"].as_str() {
            heard.push(text.to_owned());
            if is_last(text) {
                return Ok(heard);
            }
        }
    }
}
