//! Executors of runs: this machine, or others by ssh.
//!
//! Both ways a run is a child of a shell script that watches its standard input. When that ends,
//! because the sweep closes it or is gone, the script sends SIGTERM to the run, which writes its
//! checkpoint. So a stopped sweep leaves no run behind, on no machine.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::args::ExecutorArgs;
use super::plan::SweepTask;

/// Executor: one machine that can run one task at a time.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    /// Its name; this machine has none.
    pub(crate) host: Option<String>,
    ssh: Vec<String>,
    directory: String,
    program: String,
    send: Vec<String>,
    fetch: Vec<String>,
}

/// Exit code of ssh where it did not reach the machine.
pub(crate) const UNREACHABLE: i32 = 255;

impl ExecutorArgs {
    /// Executors: each machine as often as it may run tasks at once.
    pub(crate) fn slots(&self) -> Result<Vec<Executor>> {
        if self.jobs == 0 {
            bail!("--jobs 0 runs nothing; at least 1");
        }
        let here = std::env::current_dir().context("this directory has no path")?;
        let program = std::env::current_exe().context("this program has no path")?;
        let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        let optional = |text: &Option<String>| text.as_deref().map(words).unwrap_or_default();
        let ssh = words(&self.ssh);
        if ssh.is_empty() {
            bail!("--ssh names no command; as in \"ssh -o BatchMode=yes {{host}}\"");
        }
        let executor = |host: Option<&String>| Executor {
            host: host.cloned(),
            ssh: ssh.clone(),
            directory: self.directory.clone().unwrap_or_else(|| here.display().to_string()),
            program: self.program.clone().unwrap_or_else(|| program.display().to_string()),
            send: optional(&self.send),
            fetch: optional(&self.fetch),
        };
        let executors: Vec<Executor> = match self.on.is_empty() {
            true => vec![executor(None)],
            false => self.on.iter().map(|host| executor(Some(host))).collect(),
        };
        // Every machine's first slot comes before any second one.
        Ok((0..self.jobs).flat_map(|_| executors.iter().cloned()).collect())
    }
}

impl Executor {
    /// The command that runs a task here and writes to its standard output what the task says.
    pub(crate) fn command(&self, task: &SweepTask) -> Command {
        let script = self.script(task);
        let Some(host) = &self.host else {
            let mut command = Command::new("sh");
            command.args(["-c", &script]);
            return command;
        };
        let mut command = words_for(&self.ssh, host, task, "");
        // Whatever shell people have there, this is for sh.
        command.arg(format!("sh -c {}", quoted(&script)));
        command
    }

    /// The command before a task starts here, where one is needed: only runs that go on have
    /// something to be sent.
    pub(crate) fn before(&self, task: &SweepTask) -> Option<Command> {
        let goes_on = task.folder.join("checkpoints").exists();
        self.copy(&self.send, task).filter(|_| goes_on)
    }

    /// The command after a task has ended here, where one is needed.
    pub(crate) fn after(&self, task: &SweepTask) -> Option<Command> {
        self.copy(&self.fetch, task)
    }

    fn copy(&self, template: &[String], task: &SweepTask) -> Option<Command> {
        let host = self.host.as_ref()?;
        let remote = Path::new(&self.directory).join(&task.folder).display().to_string();
        (!template.is_empty()).then(|| words_for(template, host, task, &remote))
    }

    fn script(&self, task: &SweepTask) -> String {
        let words = std::iter::once(&self.program).chain(&task.args);
        let run = words.map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let directory = quoted(&self.directory);
        format!(
            "cd {directory} || exit 1\n\
             exec 3<&0\n\
             {run} </dev/null 3<&- 2>&1 &\n\
             run=$!\n\
             {{ cat <&3; kill -TERM $run; }} >/dev/null 2>&1 &\n\
             watch=$!\n\
             exec 3<&-\n\
             wait $run\n\
             code=$?\n\
             kill $watch 2>/dev/null\n\
             exit $code"
        )
    }
}

/// A template's command with its placeholders filled in.
fn words_for(template: &[String], host: &str, task: &SweepTask, remote: &str) -> Command {
    let local = task.folder.display().to_string();
    let fill = |word: &String| {
        word.replace("{host}", host).replace("{remote}", remote).replace("{local}", &local)
    };
    let words: Vec<String> = template.iter().map(fill).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// One word of a shell, whatever it holds.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_word_survives_the_shell() {
        assert_eq!(quoted("--set=env.delay=3"), "--set=env.delay=3");
        for word in ["", "a b", "it's", "$HOME `ls` \"x\"", "a\nb", "[1, 2]"] {
            let output = Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(&quoted(word)))])
                .output()
                .unwrap();
            let once = String::from_utf8(output.stdout).unwrap();
            assert_eq!(once, quoted(word));
        }
    }
}
