//! A table's main column as bars.
//!
//! Owns the look: a bar to the median, a line from the least to the most, clustr's own in another colour. Nothing else is
//! drawn, for the table stands beside it.

use std::path::Path;

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::{Cell, Row, Section};

const WIDTH: u32 = 820;
const ROW: i32 = 26;
const TOP: i32 = 44;
/// Where bars begin, and where the longest range ends.
const FROM: i32 = 290;
const TO: i32 = 700;

const OURS: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const THEIRS: RGBColor = RGBColor(0xb0, 0xb0, 0xb0);
const BARE: RGBColor = RGBColor(0xdd, 0xc9, 0x8a);
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Fault<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as plotters::backend::DrawingBackend>::ErrorType>;

/// One bar.
struct Bar<'a> {
    name: &'a str,
    median: f64,
    least: f64,
    most: f64,
}

/// Draws it, and says how the file is called; nothing if there is nothing to compare.
pub(super) fn draw(folder: &Path, section: &Section) -> Result<Option<String>, String> {
    let Some(column) = section.table.drawn else { return Ok(None) };
    let bars: Vec<Bar<'_>> = section.table.rows.iter().filter_map(|row| Bar::of(row, column)).collect();
    let longest = bars.iter().map(|bar| bar.most).fold(0.0, f64::max);
    if bars.len() < 2 || longest <= 0.0 {
        return Ok(None);
    }
    let file = format!("{}.svg", section.slug());
    let rows = i32::try_from(bars.len()).unwrap_or(i32::MAX / ROW);
    let size = (WIDTH, u32::try_from(TOP + rows * ROW + 12).unwrap_or(WIDTH));
    let path = folder.join(&file);
    let area = SVGBackend::new(&path, size).into_drawing_area();
    let label = section.table.columns[column];
    let drawn = chart(&area, &format!("{}: {}", section.title, label.label), &bars, longest, label.digits);
    drawn.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Some(file))
}

fn chart<'a>(
    area: &Area<'a>,
    title: &str,
    bars: &[Bar<'_>],
    longest: f64,
    digits: usize,
) -> Result<(), Fault<'a>> {
    area.fill(&RGBColor(255, 255, 255))?;
    area.draw(&Text::new(title.to_owned(), (14, 12), text(17.0, HPos::Left, VPos::Top)))?;
    let place = |value: f64| FROM + whole(value / longest * f64::from(TO - FROM));
    for (number, bar) in (0..).zip(bars) {
        let top = TOP + number * ROW;
        let middle = top + ROW / 2;
        area.draw(&Text::new(
            bar.name.to_owned(),
            (FROM - 8, middle),
            text(13.0, HPos::Right, VPos::Center),
        ))?;
        let body = [(FROM, top + 4), (place(bar.median).max(FROM + 1), top + ROW - 4)];
        area.draw(&Rectangle::new(body, colour(bar.name).filled()))?;
        let range = vec![(place(bar.least), middle), (place(bar.most), middle)];
        area.draw(&PathElement::new(range, ShapeStyle::from(&INK).stroke_width(1)))?;
        let value = format!("{:.digits$}", bar.median);
        area.draw(&Text::new(value, (place(bar.most) + 8, middle), text(13.0, HPos::Left, VPos::Center)))?;
    }
    area.present()
}

fn text(size: f64, from: HPos, at: VPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size).into_font()).color(&INK).pos(Pos::new(from, at))
}

fn colour(name: &str) -> RGBColor {
    match name {
        name if name.starts_with("clustr") => OURS,
        name if name.starts_with("bare") => BARE,
        _ => THEIRS,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a place within the picture's width")]
fn whole(place: f64) -> i32 {
    place.round() as i32
}

impl<'a> Bar<'a> {
    fn of(row: &'a Row, column: usize) -> Option<Self> {
        match row.cells.get(column)? {
            Cell::Numbers(series) if !series.numbers().is_empty() => {
                let (least, most) = series.range();
                Some(Self { name: &row.name, median: series.median(), least, most })
            }
            Cell::Numbers(_) | Cell::Text(_) | Cell::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::*;
    use clustr_benches::series::Series;

    #[test]
    fn a_bar_is_drawn_for_each_who_has_numbers() {
        let folder = std::env::temp_dir().join(format!("clustr-plot-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut table = Table::new(&[("per second", 0)]);
        table.row("clustr", vec![Series::of(20_000.0).into()]);
        table.row("node & others", vec![Series::of(10_000.0).into()]);
        table.row("nobody", vec![Cell::Nothing]);
        let section = Section::new("Short connections", "", table);
        let file = draw(&folder, &section).unwrap().unwrap();
        let svg = std::fs::read_to_string(folder.join(&file)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(file, "short-connections.svg");
        assert!(svg.contains("20000") && svg.contains("node &amp; others") && !svg.contains("nobody"));
    }

    #[test]
    fn one_bar_alone_says_nothing() {
        let mut table = Table::new(&[("ms", 0)]);
        table.row("clustr", vec![Series::of(1.0).into()]);
        assert_eq!(draw(Path::new("nowhere"), &Section::new("T", "", table)).unwrap(), None);
    }
}
