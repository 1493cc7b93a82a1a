//! Tables that fit the terminal.
//!
//! Owns columns, their alignment, and which of them go first when there is not enough room. Never prints.

use anstyle::Style;

use super::plain;

/// A column: its head, on which side its cells stand, and how dear it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) head: &'static str,
    pub(crate) side: Side,
    /// Which columns are dropped first on a narrow terminal: those with the highest number; 0 is never dropped.
    pub(crate) rank: u8,
}

/// Where a cell's text stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Left,
    Right,
}

const GAP: usize = 2;

/// In which style a cell is drawn, by its column's head and its text.
pub(crate) type Paint = fn(&str, &str) -> Option<Style>;

/// The table as lines, no wider than `width` columns if any column may be dropped for that.
pub(crate) fn lines(columns: &[Column], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    painted(columns, rows, width, |_, _| None)
}

/// The same, with cells in colours, which take no room.
pub(crate) fn painted(
    columns: &[Column],
    rows: &[Vec<String>],
    width: Option<usize>,
    paint: Paint,
) -> Vec<String> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| plain_row(row)).collect();
    let rows = &rows[..];
    let widths: Vec<usize> = (0..columns.len()).map(|at| cell_width(columns, rows, at)).collect();
    let shown = choose(columns, &widths, width);
    let heads: Vec<String> = columns.iter().map(|column| column.head.to_owned()).collect();
    let head = line(columns, &widths, &shown, &heads, |_, _| None);
    let rows = rows.iter().map(|row| line(columns, &widths, &shown, row, paint));
    std::iter::once(head).chain(rows).collect()
}

/// A cell's text is often somebody else's: a command, a worker's word.
fn plain_row(row: &[String]) -> Vec<String> {
    row.iter().map(|cell| plain::cell(cell).into_owned()).collect()
}

fn cell_width(columns: &[Column], rows: &[Vec<String>], at: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(at));
    cells.map(|cell| cell.chars().count()).chain([columns[at].head.len()]).max().unwrap_or(0)
}

/// The columns that fit, in order.
fn choose(columns: &[Column], widths: &[usize], width: Option<usize>) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let needed =
        |shown: &[usize]| shown.iter().map(|at| widths[*at] + GAP).sum::<usize>().saturating_sub(GAP);
    while width.is_some_and(|width| needed(&shown) > width) {
        let dearest = shown.iter().enumerate().filter(|(_, at)| columns[**at].rank > 0);
        let Some((place, _)) = dearest.max_by_key(|(_, at)| columns[**at].rank) else {
            break;
        };
        shown.remove(place);
    }
    shown
}

fn line(columns: &[Column], widths: &[usize], shown: &[usize], row: &[String], paint: Paint) -> String {
    let cells = shown.iter().map(|at| {
        let (cell, width) = (row.get(*at).map_or("", String::as_str), widths[*at]);
        let room = " ".repeat(width.saturating_sub(cell.chars().count()));
        let cell = match paint(columns[*at].head, cell) {
            Some(style) => format!("{style}{cell}{style:#}"),
            None => cell.to_owned(),
        };
        match columns[*at].side {
            Side::Left => format!("{cell}{room}"),
            Side::Right => format!("{room}{cell}"),
        }
    });
    cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { head: "slot", side: Side::Right, rank: 0 },
        Column { head: "state", side: Side::Left, rank: 1 },
        Column { head: "memory", side: Side::Right, rank: 2 },
    ];

    fn drawn(width: Option<usize>) -> Vec<String> {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        lines(&COLUMNS, &[row(["0", "ready", "52 MB"]), row(["10", "r\u{e9}sting", "-"])], width)
    }

    #[test]
    fn without_a_width_everything_is_shown() {
        assert_eq!(
            drawn(None),
            ["slot  state    memory", "   0  ready     52 MB", "  10  r\u{e9}sting       -"]
        );
        assert_eq!(drawn(Some(21)), drawn(None));
    }

    #[test]
    fn what_is_least_dear_is_dropped_first() {
        assert_eq!(drawn(Some(20)), ["slot  state", "   0  ready", "  10  r\u{e9}sting"]);
        assert_eq!(drawn(Some(12)), ["slot", "   0", "  10"]);
    }

    #[test]
    fn colours_take_no_room() {
        let bold: Paint = |head, cell| (head == "state" && cell == "up").then(|| Style::new().bold());
        let rows = [vec!["0".into(), "up".into(), "1 MB".into()]];
        let drawn = painted(&COLUMNS, &rows, Some(21), bold);
        assert_eq!(drawn[1], "   0  \x1b[1mup\x1b[0m       1 MB");
        assert_eq!(
            drawn[1].replace("\x1b[1m", "").replace("\x1b[0m", ""),
            lines(&COLUMNS, &rows, Some(21))[1]
        );
    }

    #[test]
    fn what_is_dear_stays_however_narrow_it_is() {
        assert_eq!(drawn(Some(1)), ["slot", "   0", "  10"]);
    }
}
