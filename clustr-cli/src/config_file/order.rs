//! In which order apps start.
//!
//! Owns what `after` comes to, and why it may come to nothing. Never starts anything. Called by `document`.

/// An app, and those that it comes after, by their place.
pub(crate) type After = Vec<Vec<usize>>;

/// Places in the order of their start: as they are written, as far as `after` lets them.
///
/// # Errors
/// Those that wait for each other in a circle.
pub(crate) fn sorted(after: &After) -> Result<Vec<usize>, Vec<usize>> {
    let mut order: Vec<usize> = Vec::with_capacity(after.len());
    while order.len() < after.len() {
        let is_due = |at: &usize| !order.contains(at) && after[*at].iter().all(|first| order.contains(first));
        match (0..after.len()).find(is_due) {
            Some(at) => order.push(at),
            None => return Err(circle(after, &order)),
        }
    }
    Ok(order)
}

/// Whoever is left waits for somebody who is left: following that leads back to where one has been.
fn circle(after: &After, started: &[usize]) -> Vec<usize> {
    let mut walked: Vec<usize> = Vec::new();
    let mut at = (0..after.len()).find(|at| !started.contains(at)).unwrap_or_default();
    loop {
        if let Some(begin) = walked.iter().position(|been| *been == at) {
            return walked.split_off(begin);
        }
        walked.push(at);
        match after[at].iter().find(|first| !started.contains(first)) {
            Some(first) => at = *first,
            None => return walked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn apps_start_as_they_are_written_as_far_as_they_can() {
        assert_eq!(sorted(&vec![vec![], vec![], vec![]]), Ok(vec![0, 1, 2]));
        assert_eq!(sorted(&vec![vec![2], vec![], vec![]]), Ok(vec![1, 2, 0]));
        assert_eq!(sorted(&vec![]), Ok(vec![]));
    }

    #[test]
    fn a_circle_is_named_without_those_who_only_wait_for_it() {
        assert_eq!(sorted(&vec![vec![1], vec![2], vec![1]]), Err(vec![1, 2]));
        assert_eq!(sorted(&vec![vec![0]]), Err(vec![0]));
    }

    proptest! {
        #[test]
        fn everybody_starts_once_after_those_before_or_there_is_a_circle(
            after in (0usize..8).prop_flat_map(|n| {
                proptest::collection::vec(proptest::collection::vec(0..n.max(1), 0..3), n)
            })
        ) {
            match sorted(&after) {
                Ok(order) => {
                    prop_assert_eq!(order.len(), after.len());
                    for (at, place) in order.iter().enumerate() {
                        prop_assert!(after[*place].iter().all(|first| order[..at].contains(first)));
                    }
                }
                Err(circle) => {
                    for (at, place) in circle.iter().enumerate() {
                        prop_assert!(after[*place].contains(&circle[(at + 1) % circle.len()]));
                    }
                }
            }
        }
    }
}
