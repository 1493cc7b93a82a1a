//! A control client's bytes, in pieces: nothing panics, nothing grows, and the pieces do not matter.
//!
//! The first byte of the input is the length of a piece.
#![no_main]

use clustr_supervisor::control::intake::{Intake, Line, PIECE_BYTES_MAX};
use clustr_supervisor::control::protocol::LINE_BYTES_MAX;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else { return };
    assert_eq!(read(bytes, usize::from(piece).max(1)), read(bytes, PIECE_BYTES_MAX));
});

fn read(bytes: &[u8], piece: usize) -> Vec<Line> {
    let (mut intake, mut lines) = (Intake::default(), Vec::new());
    for part in bytes.chunks(piece) {
        intake.push(part);
        assert!(intake.waiting() < LINE_BYTES_MAX + PIECE_BYTES_MAX);
        while let Some(line) = intake.next_line() {
            if let Line::Request(request) = &line {
                // What was understood can be said again.
                let again = serde_json::to_vec(request).expect("a request is JSON");
                assert_eq!(
                    serde_json::from_slice::<clustr_supervisor::control::protocol::Request>(&again)
                        .ok()
                        .as_ref(),
                    Some(request)
                );
            }
            let is_end = matches!(line, Line::TooLong(_));
            lines.push(line);
            if is_end {
                return lines;
            }
        }
    }
    lines
}
