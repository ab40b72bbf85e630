//! A whole terminal, which is given back as it was.

use std::io::{self, Stdout, Write, stdout};
use std::time::{Duration, Instant};

use crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen,
};
use crossterm::{cursor, queue, terminal};

use super::screen::{Look, Screen};

/// The terminal, while it is ours.
pub(super) struct Terminal {
    out: Stdout,
}

/// What somebody at the keyboard wants.
pub(super) enum Event {
    Nothing,
    Resized,
    /// `q`, Escape, Ctrl-C.
    Leave,
}

/// How often signals are looked for.
const GLANCE: Duration = Duration::from_millis(100);

impl Terminal {
    /// Takes the terminal: its second screen, without a cursor, and keys as they are pressed.
    pub(super) fn open() -> io::Result<Terminal> {
        terminal::enable_raw_mode()?;
        let mut terminal = Terminal { out: stdout() };
        queue!(terminal.out, EnterAlternateScreen, cursor::Hide)?;
        terminal.out.flush()?;
        Ok(terminal)
    }

    /// Shows as much of a screen as there is room for.
    pub(super) fn show(&mut self, screen: &Screen) -> io::Result<()> {
        let (width, height) = terminal::size()?;
        queue!(self.out, BeginSynchronizedUpdate)?;
        for row in 0..height {
            queue!(self.out, cursor::MoveTo(0, row))?;
            let mut room = usize::from(width);
            for (look, text) in screen.line(row.into()) {
                let text: String = text.chars().take(room).collect();
                room -= text.chars().count();
                match look {
                    Look::Plain => {}
                    Look::Dim => queue!(self.out, SetForegroundColor(Color::DarkGrey))?,
                    Look::Bold => queue!(self.out, SetAttribute(Attribute::Bold))?,
                    Look::Good => queue!(self.out, SetForegroundColor(Color::Green))?,
                    Look::Bad => queue!(self.out, SetForegroundColor(Color::Red))?,
                }
                queue!(self.out, Print(text), ResetColor, SetAttribute(Attribute::Reset))?;
            }
            queue!(self.out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(self.out, EndSynchronizedUpdate)?;
        self.out.flush()
    }

    /// Waits for a key, a little; not beyond `end`.
    pub(super) fn wait(&mut self, end: Instant) -> io::Result<Event> {
        if !event::poll(end.saturating_duration_since(Instant::now()).min(GLANCE))? {
            return Ok(Event::Nothing);
        }
        Ok(match event::read()? {
            event::Event::Resize(..) => Event::Resized,
            event::Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                KeyCode::Char('q') | KeyCode::Esc => Event::Leave,
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Event::Leave,
                _ => Event::Nothing,
            },
            _ => Event::Nothing,
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Whatever can still be given back is.
        let _ = queue!(self.out, cursor::Show, LeaveAlternateScreen);
        let _ = self.out.flush();
        let _ = terminal::disable_raw_mode();
    }
}
