//! The report for programs, and for comparison with a later one.
//!
//! Owns its shape: sections by title, rows and columns by name, every round's number.

use clustr_benches::series::Series;
use serde_json::{Map, Value, json};

use super::{Cell, Found, Section};
use crate::goals::{Goal, Verdict};

pub(super) fn report(machine: &str, sections: &[Value], found: &Found) -> Value {
    let goals: Map<String, Value> =
        found.iter().filter_map(|(name, numbers)| Some(((*name).to_owned(), goal(name, numbers)?))).collect();
    json!({ "version": 1, "machine": machine, "sections": sections, "goals": goals })
}

pub(super) fn section(section: &Section) -> Value {
    let rows = section.table.rows.iter().map(|row| {
        let cells = row.cells.iter().zip(&section.table.columns);
        let cells: Map<String, Value> =
            cells.map(|(cell, column)| (column.label.to_owned(), self::cell(cell))).collect();
        json!({ "name": row.name, "cells": cells })
    });
    json!({ "title": section.title, "about": section.about, "rows": rows.collect::<Vec<_>>(), "notes": section.notes })
}

fn cell(cell: &Cell) -> Value {
    match cell {
        Cell::Numbers(series) => numbers(series),
        Cell::Text(text) => json!(text),
        Cell::Nothing => Value::Null,
    }
}

/// `found` is the last run's; `runs` are all of them.
fn goal(name: &str, runs: &[Series]) -> Option<Value> {
    let (goal, last) = (Goal::named(name)?, runs.last()?);
    let held = runs.iter().all(|found| goal.judge(found) == Verdict::Held);
    let runs: Vec<_> = runs.iter().map(numbers).collect();
    Some(
        json!({ "goal": goal.shown(), "must": goal.must, "found": numbers(last), "held": held, "runs": runs }),
    )
}

fn numbers(series: &Series) -> Value {
    let (least, most) = series.range();
    json!({ "median": series.median(), "least": least, "most": most, "rounds": series.numbers() })
}
