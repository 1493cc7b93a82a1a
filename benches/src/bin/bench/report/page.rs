//! The report in `docs/performance.md`, with its plots beside it.
//!
//! Owns what stands between two marks of that page, the folder `docs/plots`, and that the README shows the same run. Never
//! touches the words around it.

use std::fs;
use std::path::Path;

use super::{readme, write};

const PAGE: &str = "docs/performance.md";
const README: &str = "README.md";
const PLOTS: &str = "docs/plots";
const BEGIN: &str = "<!-- report: written by `cargo xtask bench --write` -->\n";
const END: &str = "<!-- end of the report -->";

/// Puts a report into the page, its plots from `folder`; and its first numbers, if it has them, into the README.
pub(super) fn keep(
    root: &Path,
    folder: &Path,
    report: &str,
    numbers: impl FnOnce() -> Option<String>,
) -> Result<(), String> {
    change(root, PAGE, [BEGIN, END], |page| replaced(page, report))?;
    if let Some(numbers) = numbers() {
        change(root, README, [readme::BEGIN, readme::END], |page| readme::replaced(page, &numbers))?;
    }
    let plots = root.join(PLOTS);
    fs::create_dir_all(&plots).map_err(|error| format!("{}: {error}", plots.display()))?;
    for plot in plots_of(report) {
        let copied = fs::copy(folder.join(plot), plots.join(plot));
        copied.map_err(|error| format!("{plot}: {error}"))?;
    }
    Ok(())
}

fn change(
    root: &Path,
    page: &str,
    [begin, end]: [&str; 2],
    change: impl FnOnce(&str) -> Option<String>,
) -> Result<(), String> {
    let path = root.join(page);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text =
        change(&text).ok_or_else(|| format!("{page} has lost its marks '{}' and '{end}'", begin.trim()))?;
    write(&path, &text)
}

/// The page with another report: its chapters one level lower, its plots where the page finds them.
fn replaced(page: &str, report: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let line = |line: &str| {
        let deeper = if line.starts_with('#') { "#" } else { "" };
        format!("{deeper}{}\n", line.replace("](", "](plots/"))
    };
    // The title is the page's own.
    let report: String =
        report.lines().skip_while(|line| line.starts_with('#') || line.is_empty()).map(line).collect();
    Some(format!("{before}{BEGIN}\n{report}\n{END}{after}"))
}

fn plots_of(report: &str) -> impl Iterator<Item = &str> {
    report.lines().filter_map(|line| line.strip_prefix("![")?.split_once("](")?.1.strip_suffix(')'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let page = format!("# Ours\n\n{BEGIN}old\n{END}\n\nend\n");
        let report = "# Title\n\nmachine\n\n## Part\n\n![Part](part.svg)\n";
        let new = replaced(&page, report).unwrap();
        assert!(new.starts_with("# Ours\n\n<!-- report"), "{new}");
        assert!(new.contains("machine\n\n### Part\n\n![Part](plots/part.svg)\n"), "{new}");
        assert!(new.ends_with("report -->\n\nend\n") && !new.contains("old"), "{new}");
        assert_eq!(plots_of(report).collect::<Vec<_>>(), ["part.svg"]);
        assert_eq!(replaced(&new, report).unwrap(), new);
        assert!(replaced("no marks", report).is_none());
    }
}
