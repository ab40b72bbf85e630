//! Figures of a comparison: learning curves, and final scores over lengths.

use crate::chart::{Chart, Panel, Series, SeriesStyle, XAxis};

use crate::comparison::Comparison;
use crate::group::{Group, Member};
use crate::grouping::short_name;
use crate::question::Measure;
use crate::statistics::{interpolate, mean};

/// Points of a common grid.
const GRID: usize = 300;

/// Learning curves: a panel for each task, a curve for each hue, mean and 95 % interval over seeds.
pub(crate) fn learning_curves(comparison: &Comparison<'_>, title: &str) -> Chart {
    let tasks = distinct(comparison, Group::task);
    let panels: Vec<Panel> = tasks
        .into_iter()
        .map(|(task, groups)| Panel {
            title: task,
            x_name: "env steps".into(),
            x: XAxis::Linear,
            y_name: comparison.measure_name().into(),
            range: comparison.range(),
            series: groups.iter().flat_map(|group| curves(comparison, group)).collect(),
            references: comparison.reference_lines(&groups),
        })
        .collect();
    let columns = columns(panels.len());
    Chart { title: title.into(), columns, panels, notes: comparison.notes() }
}

/// Final scores of seeds over the x axis; `None` where nothing is to be an x axis.
pub(crate) fn aggregate(comparison: &Comparison<'_>, title: &str) -> Option<Chart> {
    let mut panels: Vec<Panel> = Vec::new();
    for (name, groups) in distinct(comparison, |group| group.panel.clone()) {
        let on_axis: Vec<&Group<'_>> =
            groups.into_iter().filter(|group| group.x.is_some()).collect();
        let Some((key, _)) = on_axis.first().and_then(|group| group.x.as_ref()) else {
            continue;
        };
        let mut values: Vec<f64> =
            on_axis.iter().filter_map(|group| Some(group.x.as_ref()?.1)).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        panels.push(Panel {
            title: name,
            x_name: short_name(key),
            x: XAxis::Values(values),
            y_name: match comparison.measure {
                Measure::Return => "final episode return".into(),
                Measure::Success => "episodes solved at the end".into(),
            },
            range: comparison.range(),
            series: over_x(comparison, &on_axis),
            references: comparison.reference_lines(&on_axis),
        });
    }
    if panels.is_empty() {
        return None;
    }
    let columns = columns(panels.len());
    let mut notes = comparison.notes();
    notes.insert(0, "each seed counts with the mean of the last 5% of its rows".into());
    Some(Chart { title: title.into(), columns, panels, notes })
}

fn columns(panels: usize) -> usize {
    match panels {
        1 => 1,
        2 | 4 => 2,
        _ => 3,
    }
}

/// Groups by what they are called, in order of first appearance.
fn distinct<'a, 'b>(
    comparison: &'a Comparison<'b>,
    name: impl Fn(&Group<'b>) -> String,
) -> Vec<(String, Vec<&'a Group<'b>>)> {
    let mut found: Vec<(String, Vec<&Group<'_>>)> = Vec::new();
    for group in &comparison.groups {
        let name = name(group);
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, groups)) => groups.push(group),
            None => found.push((name, vec![group])),
        }
    }
    found
}

/// The mean curve of a group's seeds, and one series for each of them that ended early.
fn curves(comparison: &Comparison<'_>, group: &Group<'_>) -> Vec<Series> {
    let label = match group.members.len() {
        1 if comparison.groups.len() == 1 => group.members[0].run.name.clone(),
        _ => comparison.hues[group.hue].clone(),
    };
    let mut mean_curve = Series {
        label: Some(label),
        index: group.hue,
        style: SeriesStyle::Curve,
        ..Series::default()
    };
    let rows: Vec<Vec<(f64, f64)>> = group.members.iter().map(to_the_end).collect();
    for x in grid(group, &rows) {
        let values: Vec<f64> = rows.iter().filter_map(|rows| interpolate(rows, x)).collect();
        let Some(estimate) = mean(&values) else { continue };
        mean_curve.points.push((x, estimate.value));
        mean_curve.spread.extend(estimate.interval.map(|(low, high)| (x, low, high)));
    }
    let cut_off = group.members.iter().filter(|member| member.ended_early()).map(|member| Series {
        label: None,
        index: group.hue,
        points: member.rows.clone(),
        style: SeriesStyle::CutOff,
        ..Series::default()
    });
    std::iter::once(mean_curve).chain(cut_off).collect()
}

/// A member's rows; in a run that was not cut off the last number stays to the run's end, since
/// episodes are reported now and then only.
fn to_the_end(member: &Member<'_>) -> Vec<(f64, f64)> {
    let mut rows = member.rows.clone();
    let (x, y) = rows[rows.len() - 1];
    let end = member.run.training.env_steps;
    if !member.ended_early() && end > x {
        rows.push((end, y));
    }
    rows
}

/// Grid from where all seeds have begun to where the first one that was not cut off ends.
fn grid(group: &Group<'_>, rows: &[Vec<(f64, f64)>]) -> Vec<f64> {
    let last = |rows: &Vec<(f64, f64)>| rows[rows.len() - 1].0;
    let longest = rows.iter().map(last).fold(0.0, f64::max);
    let whole = group.members.iter().zip(rows).filter(|(member, _)| !member.ended_early());
    let end = whole.map(|(_, rows)| last(rows)).fold(f64::INFINITY, f64::min).min(longest);
    let start = rows.iter().map(|rows| rows[0].0).fold(0.0, f64::max).min(end);
    if start == end {
        return vec![end];
    }
    let step = (end - start) / (GRID - 1) as f64;
    let mut points: Vec<f64> = (0..GRID).map(|i| start + step * i as f64).collect();
    // Not the sum of rounded steps, which may lie beyond the last row.
    points[GRID - 1] = end;
    points
}

/// A series for each hue, in the order of hues.
fn over_x(comparison: &Comparison<'_>, groups: &[&Group<'_>]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for (index, hue) in comparison.hues.iter().enumerate() {
        let mut series = Series {
            label: Some(hue.clone()),
            index,
            style: SeriesStyle::Marked,
            ..Series::default()
        };
        for group in groups.iter().filter(|group| group.hue == index) {
            let Some((_, x)) = group.x else { continue };
            let end = group.end();
            series.points.push((x, end.value));
            series.spread.extend(end.interval.map(|(low, high)| (x, low, high)));
        }
        if !series.points.is_empty() {
            all.push(series);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::Question;
    use crate::runs::Run;
    use crate::runs::tests::run;

    fn runs() -> Vec<Run> {
        let of = |seq: &str, delay: &str, seed: &str, end: f64| {
            let settings = [("seq", seq), ("env.delay", delay), ("run.seed", seed)];
            run(&format!("{seq}-{delay}-{seed}"), &settings, end)
        };
        vec![
            of("lstm", "20", "1", 1.0),
            of("lstm", "20", "2", 0.8),
            of("lstm", "50", "1", 0.5),
            of("gru", "20", "1", 0.4),
        ]
    }

    #[test]
    fn a_mean_curve_has_a_band_and_goes_on_a_grid() {
        let runs = runs();
        let comparison = Comparison::new(&runs, &Question::default()).unwrap();
        let chart = learning_curves(&comparison, "recall");
        let titles: Vec<&str> = chart.panels.iter().map(|p| p.title.as_str()).collect();
        assert_eq!(titles, ["delay 20", "delay 50"]);
        let line = &chart.panels[0].series[0];
        assert_eq!((line.points.len(), line.spread.len()), (300, 300));
        let (x, y) = line.points[299];
        assert!((x - 1_000.0).abs() < 1e-9 && (y - 0.9).abs() < 1e-9, "{x} {y}");
        // Two seeds, 0.1 from their mean: 12.706 times 0.1.
        let (_, low, high) = line.spread[299];
        assert!((low - (0.9 - 1.2706)).abs() < 1e-3 && (high - (0.9 + 1.2706)).abs() < 1e-3);
        assert!(chart.panels[0].series[1].spread.is_empty(), "one seed has no band");
    }

    #[test]
    fn a_run_that_ended_early_is_drawn_as_far_as_it_came_and_the_others_to_their_end() {
        let mut runs = runs();
        runs[1].training.success.truncate(40);
        runs[1].training.env_steps = 400.0;
        let comparison = Comparison::new(&runs, &Question::default()).unwrap();
        let chart = learning_curves(&comparison, "recall");
        let series = &chart.panels[0].series;
        let (mean, cut) = (&series[0], &series[1]);
        assert_eq!(cut.style, SeriesStyle::CutOff);
        let &(x, y) = cut.points.last().unwrap();
        assert!(x == 400.0 && (y - 0.32).abs() < 1e-9, "{x} {y}");
        assert_eq!(mean.points.last(), Some(&(1_000.0, 1.0)));
        assert!(mean.spread.len() < 150 && mean.points.len() == 300);
    }

    #[test]
    fn the_last_number_of_a_whole_run_stays_to_its_end() {
        let mut runs = runs();
        runs[1].training.success.truncate(70);
        let comparison = Comparison::new(&runs, &Question::default()).unwrap();
        let chart = learning_curves(&comparison, "recall");
        let line = &chart.panels[0].series[0];
        let &(x, y) = line.points.last().unwrap();
        assert!(x == 1_000.0 && (y - (1.0 + 0.56) / 2.0).abs() < 1e-9, "{x} {y}");
        assert_eq!(line.spread.len(), 300);
    }

    #[test]
    fn ends_are_drawn_over_lengths() {
        let runs = runs();
        let comparison = Comparison::new(&runs, &Question::default()).unwrap();
        let chart = aggregate(&comparison, "recall").unwrap();
        let panel = &chart.panels[0];
        assert_eq!(panel.x, XAxis::Values(vec![20.0, 50.0]));
        let xs: Vec<f64> = panel.series[0].points.iter().map(|&(x, _)| x).collect();
        assert_eq!(xs, [20.0, 50.0]);
        assert!((panel.series[0].points[0].1 - 0.882).abs() < 1e-9);
        assert_eq!(panel.series[0].spread.len(), 1);
        let one_length = &runs[..2];
        let comparison = Comparison::new(one_length, &Question::default()).unwrap();
        assert!(aggregate(&comparison, "recall").is_none());
    }
}
