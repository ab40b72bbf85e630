//! Tests that tiny networks learn the tasks in seconds, and only networks with the needed memory.

use std::path::Path;
use std::time::Duration;

use clap::Parser;
use engram_service::Shutdown;
use engram_service::progress::Progress;

use super::training_run::{TrainingEnd, TrainingRun};
use super::*;

/// A command line of its own, so that tests read as users write.
#[derive(Parser)]
struct DiagnoseCli {
    #[command(flatten)]
    args: DiagnoseArgs,
}

const ELSTM: &str = "inputs = [\"observation\"]\n[torso]\nname = \"identity\"\n\
    [memory]\nname = \"elstm\"\nhidden = 16\ngradient = \"tbptt\"\nforget_bias = 1.0\n\
    [head]\nhidden = []\nactivation = \"relu\"\n\
    [head.init]\nhidden = { name = \"fan_in\" }\npolicy = { name = \"fan_in\" }\n\
    value = { name = \"fan_in\" }\naction_values = { name = \"fan_in\" }\n";

/// A folder of configurations with the models `tbptt`, `rtrl`, and `feedforward`, which remembers
/// nothing.
fn configs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let elstm = "name = \"elstm\"\nhidden = 16\ngradient = \"tbptt\"\nforget_bias = 1.0";
    std::fs::create_dir(folder.path().join("seq")).unwrap();
    for (name, text) in [
        ("tbptt", ELSTM.to_string()),
        ("rtrl", ELSTM.replace("\"tbptt\"", "\"rtrl\"")),
        ("feedforward", ELSTM.replace(elstm, "name = \"none\"")),
    ] {
        std::fs::write(folder.path().join(format!("seq/{name}.toml")), text).unwrap();
    }
    folder
}

fn parse(configs: &Path, words: &str) -> Result<(TrainingSettings, Vec<SequenceModel>)> {
    let configs = configs.display().to_string();
    let words = words.split_whitespace();
    let words = ["diagnose"].into_iter().chain(words).chain(["--configs", &configs]);
    let (task, training) = DiagnoseCli::try_parse_from(words)?.args.task.split();
    Ok((training.settings(task)?, training.models()?))
}

/// Trains what the command line says, with seed 1.
fn train(words: &str) -> TrainingRun {
    let configs = configs();
    let (settings, models) = parse(configs.path(), words).unwrap();
    tch::set_num_threads(1);
    let mut progress = Progress::lines(std::io::sink(), Duration::from_secs(60));
    let (config, shutdown) = (&models[0].config, Shutdown::new());
    training_run::train(&settings, config, 1, configs.path(), &mut progress, &shutdown).unwrap()
}

fn last_accuracy(run: &TrainingRun) -> f64 {
    run.rows.last().unwrap().accuracy
}

/// Three symbols to wait between the cue and the query.
const RECALL: &str = "recall --delay 3 --choices 2 --batch 16 --learning-rate 1e-2 \
                      --steps 200000 --target 0.95";

#[test]
fn both_gradients_learn_recall_where_the_unroll_covers_it() {
    for seq in ["tbptt", "rtrl"] {
        let run = train(&format!("{RECALL} --unroll full --seq {seq}"));
        assert_eq!(run.end, TrainingEnd::Reached, "{seq}: {:?}", run.rows.last());
    }
}

/// A readout of what random cells happen to keep would do over three symbols, but not over twelve.
#[test]
fn online_only_real_time_gradients_learn_recall() {
    let online = "recall --delay 12 --choices 2 --batch 16 --learning-rate 1e-2 --steps 80000 \
                  --target 0.95 --unroll 1";
    let run = train(&format!("{online} --seq rtrl"));
    assert_eq!(run.end, TrainingEnd::Reached, "{:?}", run.rows.last());
    let run = train(&format!("{online} --seq tbptt"));
    assert!(last_accuracy(&run) < 0.75, "{:?}", run.rows.last());
}

#[test]
fn without_memory_recall_stays_at_chance() {
    let run = train("recall --delay 3 --choices 2 --steps 100000 --seq feedforward");
    assert_eq!(run.end, TrainingEnd::Budget);
    let mean = run.rows.iter().map(|row| row.accuracy).sum::<f64>() / run.rows.len() as f64;
    // Three standard errors of a mean over the 20000 questions.
    assert!((mean - 0.5).abs() < 0.011, "{mean}");
}

#[test]
fn both_gradients_learn_to_copy_across_unrolls_that_end_between_answers() {
    let copy = "copy --length 2 --gap 1 --positions --batch 16 --learning-rate 1e-2 \
                --steps 300000 --target 0.95";
    for (seq, unroll) in [("tbptt", "full"), ("rtrl", "4")] {
        let run = train(&format!("{copy} --unroll {unroll} --seq {seq}"));
        assert_eq!(run.end, TrainingEnd::Reached, "{seq}: {:?}", run.rows.last());
        assert!(run.rows.last().unwrap().episode_accuracy > 0.85);
    }
}

#[test]
fn a_training_follows_from_its_seed_alone() {
    let train = || train("recall --delay 3 --choices 2 --steps 3000 --unroll 2 --seq rtrl");
    let numbers = |run: TrainingRun| -> Vec<_> {
        run.rows.iter().map(|row| (row.frames, row.updates, row.loss, row.accuracy)).collect()
    };
    assert_eq!(numbers(train()), numbers(train()));
}

#[test]
fn a_training_that_is_stopped_keeps_what_it_has() {
    let configs = configs();
    let (settings, models) = parse(configs.path(), "recall --delay 3 --seq rtrl").unwrap();
    let shutdown = Shutdown::new();
    shutdown.trigger();
    let mut progress = Progress::lines(std::io::sink(), Duration::from_secs(60));
    let (config, folder) = (&models[0].config, configs.path());
    let run = training_run::train(&settings, config, 1, folder, &mut progress, &shutdown).unwrap();
    assert_eq!((run.end, run.rows.len()), (TrainingEnd::Stopped, 0));
    let table = std::fs::read_to_string(folder.join("progress.csv")).unwrap();
    assert!(table.starts_with("frames,updates,loss,accuracy"), "{table}");
}

#[test]
fn everything_that_was_trained_is_in_the_report_and_in_its_folder() {
    let configs = configs();
    let words = "recall --delay 1 --choices 2 --seq rtrl --against feedforward --steps 3000";
    let (settings, models) = parse(configs.path(), words).unwrap();
    let (folder, shutdown) = (configs.path().join("out"), Shutdown::new());
    let report = train_all(&settings, &models, &[3, 4], &folder, &shutdown).unwrap();
    let seeds = |i: usize| report.trained[i].1.iter().map(|c| c.seed).collect::<Vec<_>>();
    assert_eq!((seeds(0), seeds(1)), (vec![3, 4], vec![3, 4]));
    for name in ["rtrl-seed3", "rtrl-seed4", "feedforward-seed3", "feedforward-seed4"] {
        let table = std::fs::read_to_string(folder.join(name).join("progress.csv")).unwrap();
        assert!(table.lines().count() > 2, "{name}");
    }
}

#[test]
fn settings_that_make_no_sense_are_named_with_what_would_be_right() {
    let configs = configs();
    let refuse = |words: &str| format!("{:#}", parse(configs.path(), words).err().unwrap());
    assert!(refuse("recall --seq rtrl --unroll 0").contains("at least 1, or `full`"));
    assert!(refuse("recall --seq rtlr").contains("did you mean `rtrl`?"));
    assert!(refuse("recall --seq rtrl --delay 0").contains("--delay is 0"));
    assert!(refuse("recall --seq rtrl --choices 1").contains("between 2 and"));
    assert!(refuse("recall --seq rtrl --delay 9999999").contains("10000001 frames"));
    assert!(refuse("copy --seq rtrl --length 0").contains("--length is 0"));
    assert!(refuse("copy --seq rtrl --learning-rate 0").contains("above 0"));
    assert!(refuse("copy --seq rtrl --target 1.5").contains("between 0 and 1"));
    assert!(refuse("copy --seq rtrl --batch 0").contains("--batch"));
    assert!(refuse("copy --seq rtrl --steps 10").contains("already take 1952"));
    assert!(refuse("copy --seq rtrl --seeds 1,1").contains("twice"));
}
