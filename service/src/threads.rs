//! Named threads that are heard when they panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread::JoinHandle;

/// Starts a thread. Its name shows in `top -H`, where Linux keeps 15 bytes of it. If it panics
/// the log says which thread and why, even when nobody joins it; joining still gives the panic.
pub fn spawn_named<T, F>(name: impl Into<String>, work: F) -> JoinHandle<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let name = name.into();
    let thread = std::thread::Builder::new().name(name.clone());
    let body = move || {
        // The panic goes on right after it was reported: nothing broken is used again here.
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            tracing::error!(thread = name, panic = reason(&*panic), "a thread panicked");
            resume_unwind(panic)
        })
    };
    thread.spawn(body).expect("the system has room for one more thread")
}

/// Message of a panic.
pub fn reason(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_its_name_and_gives_back_its_result() {
        let thread = spawn_named("model", || std::thread::current().name().map(String::from));
        assert_eq!(thread.join().unwrap().as_deref(), Some("model"));
    }

    #[test]
    fn a_panic_reaches_whoever_joins() {
        let panic = spawn_named("doomed", || panic!("step {}", 7)).join().unwrap_err();
        assert_eq!(reason(&*panic), "step 7");
    }
}
