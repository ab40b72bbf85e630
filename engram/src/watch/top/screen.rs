//! Screen of `engram top`: styled lines of text.

use engram_service::format::{bytes, duration, number, seconds};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};

use crate::watch::bottleneck::Bottleneck;
use crate::watch::run_status::{BusyShares, ProcessStatus, RunStatus, Trouble};

const PLAIN: Style = Style::new();
const DIM: Style = Style::new().fg(Color::DarkGray);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const GOOD: Style = Style::new().fg(Color::Green);
const BAD: Style = Style::new().fg(Color::Red);

/// Recent values of some numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Sparklines {
    episode_return: Sparkline,
    success: Sparkline,
    rate: Sparkline,
}

#[derive(Clone, Debug, Default)]
struct Sparkline(Vec<f64>);

/// Values of a curve, each a column.
const CURVE: usize = 32;

/// Columns of the bar of progress.
const BAR: usize = 40;

/// Columns of the names of rows.
const NAME: usize = 12;

/// The text without styles.
pub(super) fn plain(screen: &Text<'_>) -> String {
    screen.lines.iter().map(|line| format!("{}\n", line.to_string().trim_end())).collect()
}

/// A line that begins with the name of what it tells.
fn row<const N: usize>(name: &str, rest: [(Style, String); N]) -> Line<'static> {
    let name = Span::styled(format!("{name:<NAME$}"), DIM);
    let rest = rest.into_iter().map(|(style, text)| Span::styled(text, style));
    std::iter::once(name).chain(rest).collect()
}

impl Sparklines {
    /// Adds a moment.
    pub(super) fn add(&mut self, status: &RunStatus) {
        self.episode_return.add(status.episode_return);
        self.success.add(status.success);
        self.rate.add(status.rates.learned);
    }
}

impl Sparkline {
    fn add(&mut self, value: Option<f64>) {
        self.0.extend(value);
        let excess = self.0.len().saturating_sub(CURVE);
        self.0.drain(..excess);
    }

    /// Bars from the lowest value to the highest, in eight heights.
    fn draw(&self) -> String {
        let low = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let height = |value: &f64| match (value - low) / (high - low) {
            share if share.is_finite() => (share * 7.0).round() as u32,
            _ => 3,
        };
        self.0.iter().filter_map(|value| char::from_u32(0x2581 + height(value))).collect()
    }
}

/// The screen of a run.
pub(super) fn draw(
    status: &RunStatus,
    curves: &Sparklines,
    trouble: Option<&str>,
) -> Text<'static> {
    let mut screen = Text::default();
    let (run, parts) = status.run.clone().unwrap_or(("no run".into(), String::new()));
    screen.push_line(Line::from_iter([
        Span::styled(run, BOLD),
        Span::styled(format!("  {parts}"), DIM),
    ]));
    if let Some(trouble) = trouble {
        screen.push_line(Span::styled(trouble.to_owned(), BAD));
    }
    screen.push_line("");
    learning(&mut screen, status, curves);
    screen.push_line("");
    flow(&mut screen, status);
    screen.push_line("");
    health(&mut screen, status);
    screen.push_line("");
    for process in &status.processes {
        screen.push_line(process_row(process));
    }
    for (at, why) in &status.silent {
        screen.push_line(Span::styled(format!("{at}  does not answer: {why}"), BAD));
    }
    screen
}

fn learning(screen: &mut Text<'_>, status: &RunStatus, curves: &Sparklines) {
    let (rates, taken) = (status.rates, status.env_steps.zip(status.budget));
    let share = taken.map_or(0.0, |(taken, budget)| (taken / budget.max(1.0)).min(1.0));
    let filled = (share * BAR as f64) as usize;
    let left = taken.zip(rates.learned.filter(|rate| *rate > 0.0));
    let left = left.map(|((taken, budget), rate)| (budget - taken).max(0.0) / rate);
    let left =
        left.map_or(String::new(), |left| format!(", {} left", duration(left.ceil() as u64)));
    let of = taken
        .map_or("–".into(), |(taken, budget)| format!("{} of {}", number(taken), number(budget)));
    screen.push_line(row(
        "progress",
        [
            (GOOD, "━".repeat(filled)),
            (DIM, "─".repeat(BAR - filled)),
            (BOLD, format!("  {:.1}%", 100.0 * share)),
            (PLAIN, format!("  {of}{left}")),
        ],
    ));
    let value = status.episode_return.map_or("–".into(), |mean| format!("{mean:.3}"));
    screen.push_line(row(
        "return",
        [(BOLD, format!("{value:<10}")), (PLAIN, curves.episode_return.draw())],
    ));
    if let Some(success) = status.success {
        let value = format!("{:.1}%", 100.0 * success);
        screen.push_line(row(
            "success",
            [(BOLD, format!("{value:<10}")), (PLAIN, curves.success.draw())],
        ));
    }
    let rate = per_second(rates.learned);
    screen
        .push_line(row("env steps", [(BOLD, format!("{rate:<10}")), (PLAIN, curves.rate.draw())]));
    let others = format!(
        "{:<10}{} published, {} episodes, {} env steps acted",
        per_second(rates.updates),
        per_second(rates.published),
        per_second(rates.episodes),
        per_second(rates.acted),
    );
    screen.push_line(row("updates", [(PLAIN, others)]));
}

fn flow(screen: &mut Text<'_>, status: &RunStatus) {
    let limit = status.bottleneck.map_or("–".into(), |limit| limit.to_string());
    let look = if status.bottleneck == Some(Bottleneck::Nothing) { BAD } else { BOLD };
    screen.push_line(row(
        "limited by",
        [(look, format!("{limit:<14} ")), (PLAIN, at_work(&status.work))],
    ));
    if let Some(bottleneck) = status.bottleneck {
        screen.push_line(row("settings", [(PLAIN, bottleneck.settings().into())]));
    }
    let inference = &status.inference;
    let batch = status.inference.batch_size.map_or("–".into(), number);
    let latency = |both: Option<(f64, f64)>| match both {
        Some((median, most)) => format!("{} ({})", seconds(median), seconds(most)),
        None => "–".into(),
    };
    screen.push_line(row(
        "inference",
        [(
            PLAIN,
            format!(
                "{batch} a batch, queue {}, forward {}: median (99 of 100)",
                latency(inference.queue_seconds),
                latency(inference.forward_seconds),
            ),
        )],
    ));
    screen.push_line(row(
        "actors",
        [
            (BOLD, count(status.actors)),
            (PLAIN, format!("   {} groups, {} slots", count(status.groups), count(status.slots))),
        ],
    ));
    screen.push_line(row(
        "waiting",
        [(
            PLAIN,
            format!(
                "{} trajectories in the learner's queue, {} unacknowledged",
                count(status.queue_depth),
                count(status.unacknowledged),
            ),
        )],
    ));
    if let Some(replay) = &status.replay {
        let [episodes, env_steps] = [replay.episodes, replay.env_steps].map(number);
        let held = bytes(replay.bytes);
        screen.push_line(row(
            "replay",
            [(PLAIN, format!("{episodes} episodes, {env_steps} env steps, {held}"))],
        ));
    }
}

fn health(screen: &mut Text<'_>, status: &RunStatus) {
    let policy = &status.policy;
    screen.push_line(row(
        "policy",
        [(
            PLAIN,
            format!(
                "version {}, acting {}; lag {} (95 of 100: {})",
                policy.published.map_or("–".into(), |version| format!("{version}")),
                policy.acting.map_or("–".into(), |version| format!("{version}")),
                policy.mean_lag.map_or("–".into(), number),
                policy.lag_95.map_or("–".into(), number),
            ),
        )],
    ));
    let age = status.checkpoint_age;
    let late = age.zip(status.checkpoint_interval);
    let late = late.is_some_and(|(age, interval)| age > 60.0 + 3.0 * interval);
    let whole = |seconds: f64| duration(seconds.round() as u64);
    let every =
        status.checkpoint_interval.map_or(String::new(), |s| format!(", every {}", whole(s)));
    let age = age.map_or("none yet".into(), |age| format!("{} old", whole(age)));
    screen.push_line(row("checkpoint", [(if late { BAD } else { PLAIN }, age), (PLAIN, every)]));
    let mut troubles = row("trouble", []);
    for (i, Trouble { what, times, is_new }) in status.troubles.iter().enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        troubles.push_span(Span::styled(comma, PLAIN));
        let style = if *is_new { BAD } else { PLAIN };
        troubles.push_span(Span::styled(format!("{} {what}", number(*times)), style));
    }
    if status.troubles.is_empty() {
        troubles.push_span(Span::styled("none", GOOD));
    }
    screen.push_line(troubles);
}

fn at_work(work: &BusyShares) -> String {
    let percent = |share: Option<f64>| match share {
        Some(share) => format!("{:.0}%", 100.0 * share),
        None => "–".into(),
    };
    let [learner, inference, actors] = [work.learner, work.inference, work.actors].map(percent);
    let note = |name: &str, share: Option<f64>| match share {
        Some(share) if share > 0.005 => format!(", {name} {}", percent(Some(share))),
        _ => String::new(),
    };
    let held = note("held by the rate limiter", work.held);
    let waiting = note("waiting for the learner", work.waiting);
    format!("at work: learner {learner}, inference {inference}, actors {actors}{held}{waiting}")
}

fn process_row(process: &ProcessStatus) -> String {
    let ProcessStatus { role, at, resident_bytes, cores, threads } = process;
    let memory = resident_bytes.map_or("–".into(), bytes);
    let cores = cores.map_or("–".into(), |cores| format!("{cores:.2}"));
    let threads = count(*threads);
    format!("{role:<18}{at:<24}{memory:>8} {cores:>7} cores {threads:>4} threads")
}

fn count(times: Option<f64>) -> String {
    times.map_or("–".into(), number)
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or("–".into(), |rate| format!("{}/s", number(rate)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::run_status::{InferenceStats, PolicyVersions, Rates};

    fn status() -> RunStatus {
        RunStatus {
            run: Some(("recall".into(), "recall-30, vtrace, lstm".into())),
            env_steps: Some(2_000_000.0),
            budget: Some(8_000_000.0),
            episode_return: Some(0.8714),
            success: Some(0.926),
            rates: Rates { learned: Some(100_000.0), updates: Some(24.4), ..Rates::default() },
            work: BusyShares { learner: Some(0.96), held: Some(0.0), ..BusyShares::default() },
            bottleneck: Some(Bottleneck::Learner),
            actors: Some(4.0),
            inference: InferenceStats {
                batch_size: Some(256.0),
                queue_seconds: Some((0.0004, 0.0012)),
                forward_seconds: None,
            },
            policy: PolicyVersions { published: Some(5097.0), ..PolicyVersions::default() },
            checkpoint_age: Some(12.2),
            checkpoint_interval: Some(60.0),
            processes: vec![ProcessStatus {
                role: "learner",
                at: "127.0.0.1:9101".into(),
                resident_bytes: Some(404e6),
                cores: Some(1.6),
                threads: Some(34.0),
            }],
            silent: vec![("host:9103".into(), "connection refused".into())],
            ..RunStatus::default()
        }
    }

    #[test]
    fn a_page_reads_like_a_story() {
        let mut curves = Sparklines::default();
        for value in [0.1, 0.4, 0.8] {
            curves.add(&RunStatus { episode_return: Some(value), ..RunStatus::default() });
        }
        let page = plain(&draw(&status(), &curves, None));
        for line in [
            "recall  recall-30, vtrace, lstm",
            "progress    ━━━━━━━━━━──────────────────────────────  25.0%  2M of 8M, 1m 0s left",
            "return      0.871     ▁▄█",
            "success     92.6%",
            "env steps   100k/s",
            "updates     24.4/s    – published, – episodes, – env steps acted",
            "limited by  learner        at work: learner 96%, inference –, actors –",
            "settings    raise rl.batch_size, use --device cuda or more learner threads; fewer \
             actors do not slow the run, and lower the policy lag",
            "inference   256 a batch, queue 400 µs (1.2 ms), forward –: median (99 of 100)",
            "actors      4   – groups, – slots",
            "policy      version 5097, acting –; lag – (95 of 100: –)",
            "checkpoint  12s old, every 1m 0s",
            "trouble     none",
            "learner           127.0.0.1:9101           385 MiB    1.60 cores   34 threads",
            "host:9103  does not answer: connection refused",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
    }

    #[test]
    fn nothing_known_is_still_a_page() {
        let page = plain(&draw(&RunStatus::default(), &Sparklines::default(), Some("no answer")));
        assert!(page.starts_with("no run\nno answer\n"), "{page}");
        assert!(page.contains("progress    ────"), "{page}");
    }

    #[test]
    fn what_is_late_or_stands_still_is_red() {
        let late = RunStatus {
            checkpoint_age: Some(600.0),
            bottleneck: Some(Bottleneck::Nothing),
            troubles: [("gaps in streams", 2.0, false), ("updates not finite", 1.0, true)]
                .map(|(what, times, is_new)| Trouble { what: what.into(), times, is_new })
                .to_vec(),
            ..status()
        };
        let screen = draw(&late, &Sparklines::default(), None);
        let spans = screen.iter().flatten();
        let red: Vec<&str> =
            spans.filter(|span| span.style == BAD).map(|span| span.content.trim()).collect();
        assert_eq!(
            red,
            [
                "nothing moves",
                "10m 0s old",
                "1 updates not finite",
                "host:9103  does not answer: connection refused"
            ]
        );
        assert!(plain(&screen).contains("trouble     2 gaps in streams, 1 updates not finite"));
    }

    #[test]
    fn a_curve_without_a_height_is_flat() {
        assert_eq!(Sparkline(vec![2.0, 2.0]).draw(), "▄▄");
        let mut curve = Sparkline::default();
        (0..100).for_each(|i| curve.add(Some(f64::from(i))));
        assert_eq!(curve.draw().chars().count(), CURVE);
        assert!(curve.draw().starts_with('▁') && curve.draw().ends_with('█'));
    }
}
