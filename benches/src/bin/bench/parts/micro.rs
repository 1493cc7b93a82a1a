//! criterion's suites, run and read.
//!
//! Owns which of their numbers are goals. The suites are in `benches/benches`; criterion judges their noise.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use clustr_benches::series::Series;
use serde_json::Value;

use crate::report::{Cell, Section, Table};
use crate::setting::{Effort, Setting};

/// The facts of one operation of a suite, by which its time is divided.
const CORE: (&str, f64) = ("core/exit_spawned_ready", 3.0);

pub(super) fn measure(setting: &Setting) -> Result<Vec<Section>, String> {
    setting.progress.at("cargo bench");
    let home = setting.places.reports().with_file_name("criterion");
    let began = std::time::SystemTime::now();
    let said = run(setting, &home)?;
    let found = read(&home, began)?;
    if found.is_empty() {
        return Err(format!("criterion has left nothing in {}", home.display()));
    }
    let mut table = Table::new(&[("ns", 0)]);
    table.drawn = None;
    for (name, nanos) in &found {
        table.row(name.clone(), vec![Cell::from(nanos)]);
    }
    let about = "Medians of criterion, with the ends of its 95 % confidence interval, for one operation.";
    let mut section = Section::new("Small parts", about, table);
    // What is compared with a bare loop is told by the suites themselves.
    section.notes.extend(said.lines().filter(|line| line.contains("of the bare loop")).map(str::to_owned));
    goals(&mut section, &found);
    Ok(vec![section])
}

fn run(setting: &Setting, home: &Path) -> Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["bench", "--package", "clustr-benches", "--features", "report", "--", "--noplot"]);
    match setting.effort {
        Effort::Quick => {
            command.args(["--warm-up-time", "0.1", "--measurement-time", "0.2", "--sample-size", "10"])
        }
        Effort::Full => {
            command.args(["--warm-up-time", "0.5", "--measurement-time", "1.5", "--sample-size", "30"])
        }
    };
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("CRITERION_HOME", home).stdin(Stdio::null());
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("cargo: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("cargo bench: {}\n{said}", output.status)) }
}

/// Every estimate that is newer than `began`, in nanoseconds, by its name.
fn read(home: &Path, began: std::time::SystemTime) -> Result<BTreeMap<String, Series>, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![home.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let estimates = folder.join("new/estimates.json");
        if fs::metadata(&estimates).and_then(|file| file.modified()).is_ok_and(|at| at >= began) {
            let name: Value = json(&folder.join("new/benchmark.json"))?;
            let name = name["full_id"].as_str().unwrap_or_default().to_owned();
            found.extend(interval(&json(&estimates)?).map(|series| (name, series)));
            continue;
        }
        let inside = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        folders.extend(inside.filter(|path| path.is_dir()));
    }
    Ok(found)
}

fn json(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The median between the ends of its confidence interval.
fn interval(estimates: &Value) -> Option<Series> {
    let median = &estimates["median"];
    let ends = &median["confidence_interval"];
    let mut series = Series::default();
    for number in [&ends["lower_bound"], &median["point_estimate"], &ends["upper_bound"]] {
        series.push(number.as_f64()?);
    }
    Some(series)
}

fn goals(section: &mut Section, found: &BTreeMap<String, Series>) {
    let (suite, facts) = CORE;
    let at = |workers: u32| found.get(&format!("{suite}/{workers}"));
    if let (Some(many), Some(few)) = (at(1_000), at(10)) {
        section.found("core-event", Series::of(many.median() / facts / 1e3));
        section.found("core-growth", Series::of(many.median() / few.median()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_estimate_is_its_median_between_the_ends_of_its_interval() {
        let ends = json!({ "lower_bound": 1.0, "upper_bound": 4.0 });
        let estimates = json!({ "median": { "point_estimate": 2.0, "confidence_interval": ends } });
        assert_eq!(format!("{:.0}", interval(&estimates).unwrap()), "2 (1–4)");
        assert!(interval(&json!({})).is_none());
    }
}
