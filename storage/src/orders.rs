//! Orders to a thread of the store, and their answers.

use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::error::Error;

/// Orders that may wait.
const WAITING_MAX: usize = 16;

/// What a thread can be told.
pub(crate) trait Order: Sized {
    /// There may be something to do.
    const NUDGE: Self;
}

/// How other threads reach the one that has the inbox.
pub(crate) struct Orders<O> {
    /// An order that is still inside when the receiver goes is dropped, and its reply with it.
    sender: SyncSender<O>,
}

impl<O: Order> Orders<O> {
    pub(crate) fn new() -> (Self, Receiver<O>) {
        let (sender, inbox) = mpsc::sync_channel(WAITING_MAX);
        (Orders { sender }, inbox)
    }

    /// Tells the thread that there may be something to do. Lost when orders wait already: it will look
    /// after them anyway.
    pub(crate) fn nudge(&self) {
        let _ = self.sender.try_send(O::NUDGE);
    }

    /// Gives an order, once there is room for it.
    pub(crate) fn give(&self, order: O) -> Result<(), Error> {
        self.sender.send(order).map_err(|_| closed())
    }

    /// Gives an order and waits for its answer.
    pub(crate) fn ask<T>(
        &self,
        order: impl FnOnce(SyncSender<Result<T, Error>>) -> O,
    ) -> Result<T, Error> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.give(order(reply))?;
        answer.recv().unwrap_or_else(|_| Err(closed()))
    }
}

fn closed() -> Error {
    Error::Stopped { reason: "the store is closed".into() }
}
