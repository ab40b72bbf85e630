//! Recorder of the operations of one thread.

use std::cell::{Cell, RefCell};

use super::Operation;

thread_local! {
    static RECORD: RefCell<Option<Vec<Operation>>> = const { RefCell::new(None) };
    static CAN_EXCHANGE: Cell<bool> = const { Cell::new(true) };
}

/// Does work, on a disk that can exchange folders or cannot, and returns what it did to files.
pub(crate) fn record(disk_can_exchange: bool, work: impl FnOnce()) -> Vec<Operation> {
    RECORD.set(Some(Vec::new()));
    CAN_EXCHANGE.set(disk_can_exchange);
    work();
    CAN_EXCHANGE.set(true);
    RECORD.take().unwrap()
}

/// Operations so far.
pub(crate) fn so_far() -> usize {
    RECORD.with_borrow(|record| record.as_ref().map_or(0, Vec::len))
}

pub(super) fn tell(operation: impl FnOnce() -> Operation) {
    RECORD.with_borrow_mut(|record| {
        if let Some(record) = record {
            record.push(operation());
        }
    });
}

pub(super) fn can_exchange() -> bool {
    CAN_EXCHANGE.get()
}
