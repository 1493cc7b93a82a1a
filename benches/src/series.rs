//! Numbers of several rounds.
//!
//! Owns the median and the range, and ratios pair by pair. Never averages.

use std::fmt;

/// The numbers of several rounds, in order.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// A single number.
    #[must_use]
    pub fn of(number: f64) -> Self {
        Self(vec![number])
    }

    /// Adds one round's number.
    pub fn push(&mut self, number: f64) {
        self.0.push(number);
    }

    /// The middle one; 0 if there is none.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => 0.0,
            count if count % 2 == 1 => sorted[count / 2],
            count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
        }
    }

    /// Each round's number divided by the other's of the same round.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(mine, theirs)| mine / theirs).collect())
    }

    /// The numbers, in order.
    #[must_use]
    pub fn numbers(&self) -> &[f64] {
        &self.0
    }

    /// The least and the most.
    #[must_use]
    pub fn range(&self) -> (f64, f64) {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (least, most)
    }
}

impl fmt::Display for Series {
    /// `median (least–most)`, with the digits that the format asks for; one number alone has no range.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        if self.0.len() < 2 {
            return write!(f, "{:.digits$}", self.median());
        }
        let (least, most) = self.range();
        write!(f, "{:.digits$} ({least:.digits$}–{most:.digits$})", self.median())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_range_are_shown() {
        let series = Series(vec![3.0, 1.0, 2.0]);
        assert_eq!(format!("{series:.1}"), "2.0 (1.0–3.0)");
        assert!((Series(vec![1.0, 2.0]).median() - 1.5).abs() < f64::EPSILON);
        assert_eq!(format!("{:.1}", Series::of(4.0)), "4.0");
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let (fast, slow) = (Series(vec![2.0, 40.0]), Series(vec![1.0, 10.0]));
        assert_eq!(format!("{:.0}", fast.over(&slow)), "3 (2–4)");
    }
}
