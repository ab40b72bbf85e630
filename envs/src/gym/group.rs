//! The servers of a group: its rows, shared out among them, and the replacement of those that are
//! lost.
//!
//! All servers are asked before any answer is awaited, so they work side by side. One that dies,
//! hangs or answers nonsense is ended, and another takes its place at once. Its episodes cannot go
//! on: their rows are reported as lost, and begin anew, from other seeds.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use engram_mdp::{Actions, Ending, EnvSpec, Observations, Seed};

use super::config::GymConfig;
use super::server::{Picture, Server};
pub(crate) use super::wire::Order;
use crate::canvas::Canvas;
use crate::error::EnvError;

/// Servers in a row that may be lost without having stepped, before the group gives up.
const ATTEMPTS: u32 = 3;
/// Time that a server elsewhere has to come back.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two attempts to reach it.
const PAUSE: Duration = Duration::from_millis(200);

/// A row's answer to an order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) reward: f32,
    pub(crate) end: RowEnd,
    pub(crate) success: Option<bool>,
}

/// Place in the episode that an order has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowEnd {
    /// An episode has begun.
    First,
    /// It goes on.
    Mid,
    /// It has ended.
    Last(Ending),
    /// It was cut off, since the environment failed.
    Broken,
    /// It was cut off, since its server was lost. The observation is the one before.
    Lost,
}

/// A group of served environments.
pub(crate) struct ServedGroup {
    config: Arc<GymConfig>,
    spec: EnvSpec,
    /// One for each row.
    seeds: Vec<Seed>,
    workers: Vec<Worker>,
    reports: Vec<Report>,
    failure: Option<EnvError>,
}

struct Worker {
    rows: Range<usize>,
    server: RefCell<Server>,
    /// Servers that were replaced so far.
    replaced: u64,
    /// Servers that were lost since the last step that went well.
    lost_in_turn: u32,
}

impl ServedGroup {
    /// Starts the servers of as many rows as there are seeds; `spec` is the one that is expected.
    pub(crate) fn start(
        config: &Arc<GymConfig>,
        spec: &EnvSpec,
        seeds: Vec<Seed>,
    ) -> Result<Self, EnvError> {
        let rows = seeds.len();
        let count = (config.workers.unwrap_or(1) as usize).min(rows).max(1);
        // The first ones take one more, where that does not come out even.
        let begin = |worker: usize| worker * (rows / count) + worker.min(rows % count);
        let ranges: Vec<_> = (0..count).map(|worker| begin(worker)..begin(worker + 1)).collect();
        // Packages are imported by all at once.
        let servers: Vec<Result<Server, String>> = thread::scope(|scope| {
            let start = |rows: &Range<usize>| {
                let seeds = numbers(&seeds[rows.clone()], 0);
                let name = thread::Builder::new().name("gym-start".into());
                name.spawn_scoped(scope, move || Server::start(config, &seeds))
            };
            let started: Vec<_> = ranges.iter().map(start).collect();
            let joined = started.into_iter().map(|thread| match thread {
                Ok(thread) => thread.join().expect("a start that fails says so"),
                Err(error) => Err(error.to_string()),
            });
            joined.collect()
        });
        let mut workers = Vec::with_capacity(count);
        for (rows, server) in ranges.into_iter().zip(servers) {
            let server = RefCell::new(server.map_err(|reason| config.error(reason))?);
            workers.push(Worker { rows, server, replaced: 0, lost_in_turn: 0 });
        }
        for worker in &workers {
            expect(worker.server.borrow().spec(), spec).map_err(|reason| config.error(reason))?;
        }
        let report = Report { reward: 0.0, end: RowEnd::Lost, success: None };
        Ok(ServedGroup {
            config: config.clone(),
            spec: spec.clone(),
            seeds,
            workers,
            reports: vec![report; rows],
            failure: None,
        })
    }

    /// Reason why the group cannot go on: servers were lost, and could not be replaced.
    pub(crate) fn failure(&self) -> Option<&EnvError> {
        self.failure.as_ref()
    }

    /// Carries out one order per row. Observations of rows that were asked for one are written.
    pub(crate) fn step(
        &mut self,
        orders: &[Order],
        actions: &Actions,
        observations: &mut Observations,
    ) {
        let asked: Vec<bool> = self.workers.iter_mut().map(|w| w.ask(orders, actions)).collect();
        for (number, asked) in asked.into_iter().enumerate() {
            let worker = &mut self.workers[number];
            let len = self.spec.observation.len();
            let answered = match asked {
                true => worker.take(orders, observations, len, &mut self.reports),
                // The reason lies in the answer that does not come.
                false => worker.server.get_mut().answer().map(|_| ()),
            };
            if let Err(reason) = answered {
                self.mend(number, orders, actions, observations, reason);
            }
        }
    }

    /// The answers to the latest orders, one per row.
    pub(crate) fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// Replaces a lost server, and has the rows reset that should have been.
    fn mend(
        &mut self,
        number: usize,
        orders: &[Order],
        actions: &Actions,
        observations: &mut Observations,
        reason: String,
    ) {
        let (len, mut reason) = (self.spec.observation.len(), reason);
        let worker = &mut self.workers[number];
        for row in worker.rows.clone() {
            self.reports[row] = Report { reward: 0.0, end: RowEnd::Lost, success: None };
        }
        let resets = |&order: &Order| if order == Order::Reset { order } else { Order::Skip };
        let resets: Vec<Order> = orders.iter().map(resets).collect();
        while worker.lost_in_turn < ATTEMPTS {
            worker.lost_in_turn += 1;
            tracing::warn!(
                name = self.spec.name,
                reason,
                "a server of environments was lost; another takes its place"
            );
            reason = match worker.replace(&self.config, &self.spec, &self.seeds) {
                Ok(()) if !resets[worker.rows.clone()].contains(&Order::Reset) => return,
                Ok(()) if worker.ask(&resets, actions) => {
                    match worker.take(&resets, observations, len, &mut self.reports) {
                        Ok(()) => return,
                        Err(reason) => reason,
                    }
                }
                Ok(()) => "the new server took no order".into(),
                Err(reason) => reason,
            };
        }
        self.failure =
            Some(self.config.error(format!("{ATTEMPTS} servers in a row were lost: {reason}")));
    }

    /// Draws a row as its environment draws itself.
    pub(crate) fn render(&self, row: usize, canvas: &mut Canvas) {
        let worker = self.workers.iter().find(|worker| worker.rows.contains(&row));
        let worker = worker.expect("every row has a server");
        let picture = worker.server.borrow_mut().picture(row - worker.rows.start);
        match picture {
            Ok(Picture { width, height, pixels }) => canvas.picture(width, height, &pixels),
            // A server that is lost is noticed at the next step.
            Err(reason) => canvas.set_caption(format!("no picture: {reason}")),
        }
    }
}

impl Worker {
    /// Asks for its rows' part of a step; false if the server does not take it.
    fn ask(&mut self, orders: &[Order], actions: &Actions) -> bool {
        let rows = self.rows.clone();
        self.server.get_mut().ask(&orders[rows.clone()], actions, rows).is_ok()
    }

    /// Waits for the answer, and writes what it says about rows that had an order.
    fn take(
        &mut self,
        orders: &[Order],
        observations: &mut Observations,
        len: usize,
        reports: &mut [Report],
    ) -> Result<(), String> {
        let columns = self.server.get_mut().answer()?;
        let mut stepped = false;
        for (at, row) in self.rows.clone().enumerate() {
            let order = orders[row];
            if order == Order::Skip {
                continue;
            }
            stepped |= order == Order::Step;
            let end = end(columns.codes[at], order)?;
            let success = match columns.successes[at] {
                1 => Some(false),
                2 => Some(true),
                _ => None,
            };
            reports[row] = Report { reward: columns.reward(at), end, success };
            Server::copy(&columns, at, observations, row, len);
        }
        if stepped {
            self.lost_in_turn = 0;
        }
        Ok(())
    }

    /// Ends the server, and starts another.
    fn replace(
        &mut self,
        config: &GymConfig,
        spec: &EnvSpec,
        seeds: &[Seed],
    ) -> Result<(), String> {
        self.server.get_mut().kill();
        self.replaced += 1;
        let seeds = numbers(&seeds[self.rows.clone()], self.replaced);
        let start = Instant::now();
        let server = loop {
            match Server::start(config, &seeds) {
                // Somebody may be about to start it again.
                Err(_) if config.address.is_some() && start.elapsed() < PATIENCE => {
                    thread::sleep(PAUSE)
                }
                started => break started?,
            }
        };
        expect(server.spec(), spec)?;
        *self.server.get_mut() = server;
        Ok(())
    }
}

/// The meaning of a code, which must fit its order.
fn end(code: u8, order: Order) -> Result<RowEnd, String> {
    match (order, code) {
        (Order::Reset, 0) => Ok(RowEnd::First),
        (Order::Step, 1) => Ok(RowEnd::Mid),
        (Order::Step, 2) => Ok(RowEnd::Last(Ending::Terminated)),
        (Order::Step, 3) => Ok(RowEnd::Last(Ending::Truncated)),
        (Order::Step, 4) => Ok(RowEnd::Broken),
        _ => Err(format!("a row answered {order:?} with code {code}")),
    }
}

fn expect(found: &EnvSpec, wanted: &EnvSpec) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("its server shows `{found}`, and not `{wanted}` as before")),
    }
}

/// Seeds as numbers of 31 bits, which every generator takes; others after every replacement.
fn numbers(seeds: &[Seed], replaced: u64) -> Vec<u32> {
    let number = |seed: &Seed| match replaced {
        0 => seed.number(),
        n => seed.derive("restart", n).number(),
    };
    seeds.iter().map(|seed| (number(seed) >> 33) as u32).collect()
}
