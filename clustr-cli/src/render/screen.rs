//! A picture that is redrawn in place.
//!
//! Owns how many lines it has drawn. Only for terminals: whoever writes elsewhere writes plain lines.

use super::output_bytes;
use crate::failure::Failure;

/// The lines drawn last, so that the next ones go over them.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    drawn: usize,
}

impl Screen {
    /// Draws `lines` where the last ones stand, each cut to `width` so that none becomes two.
    ///
    /// # Errors
    /// Nobody reads it any more, or it cannot be written.
    pub(crate) fn draw(&mut self, lines: &[String], width: usize) -> Result<(), Failure> {
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in lines {
            let cut: String = line.chars().take(width).collect();
            text.push_str(&format!("{cut}\x1b[K\n"));
        }
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        output_bytes(text.as_bytes())
    }
}
