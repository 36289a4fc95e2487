//! What memory is used for, and how much of it may be. Frames and the kernel's own records come from one budget, so that a
//! program cannot take with page tables, names or descriptors what it may not take as memory.

use std::cell::Cell;
use std::rc::Rc;

/// What memory is for. Each purpose has a limit of its own: a full file system does not take the memory of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Memory of programs, and what the kernel keeps for them.
    Programs,
    /// Content and names of files in memory.
    Files,
}

/// Bytes used and allowed, by purpose. Shared by all who take memory.
#[derive(Debug)]
pub struct Account {
    used: [Cell<u64>; 2],
    limit: [Cell<u64>; 2],
    /// Of the bytes used, those of the kernel's own records.
    records: Cell<u64>,
    total: u64,
    /// Bytes that only the kernel may take, so that it can finish what it has begun.
    reserve: u64,
    in_kernel: Cell<bool>,
    /// How often there was no room for files.
    refused_files: Cell<u64>,
}

impl Account {
    /// An account of `total` bytes; files may have three quarters of them.
    pub fn new(total: u64) -> Rc<Account> {
        let limit = [Purpose::Programs, Purpose::Files].map(|purpose| usual(purpose, total));
        Rc::new(Account {
            used: Default::default(),
            limit: limit.map(Cell::new),
            records: Cell::new(0),
            total,
            reserve: (total / 64).min(1 << 20) & !0xfff,
            in_kernel: Cell::new(true),
            refused_files: Cell::new(0),
        })
    }

    /// Bytes in use for `purpose`.
    pub fn used(&self, purpose: Purpose) -> u64 {
        self.used[purpose as usize].get()
    }

    /// Bytes in use.
    pub fn all_used(&self) -> u64 {
        self.used[0].get() + self.used[1].get()
    }

    /// The most bytes that may be in use for `purpose`.
    pub fn limit(&self, purpose: Purpose) -> u64 {
        self.limit[purpose as usize].get()
    }

    /// The most bytes that may be in use.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Of the bytes in use, those of [`Account::charge`]: they lie in the kernel's own memory, not in frames.
    pub fn records(&self) -> u64 {
        self.records.get()
    }

    /// Sets the limit of a purpose, never more than there is; none is the usual one.
    pub fn set_limit(&self, purpose: Purpose, bytes: Option<u64>) {
        let bytes = bytes.unwrap_or_else(|| usual(purpose, self.total));
        self.limit[purpose as usize].set(bytes.min(self.total));
    }

    /// Whether the kernel takes memory now to finish what it does (then it may use the reserve), or a program by touching it.
    pub fn set_in_kernel(&self, yes: bool) {
        self.in_kernel.set(yes);
    }

    /// Bytes that can still be had for `purpose`.
    pub fn room(&self, purpose: Purpose) -> u64 {
        let reserve = match (purpose, self.in_kernel.get()) {
            (Purpose::Programs, false) => self.reserve,
            _ => 0,
        };
        let own = self.limit(purpose).saturating_sub(self.used(purpose));
        own.min(self.total.saturating_sub(self.all_used())).saturating_sub(reserve)
    }

    /// Notes that there was no room for a file.
    pub fn note_refused_file(&self) {
        self.refused_files.set(self.refused_files.get() + 1);
    }

    /// How often that was so.
    pub fn refused_files(&self) -> u64 {
        self.refused_files.get()
    }

    pub(crate) fn take(&self, purpose: Purpose, bytes: u64) {
        let used = &self.used[purpose as usize];
        used.set(used.get() + bytes);
    }

    pub(crate) fn give_back(&self, purpose: Purpose, bytes: u64) {
        let used = &self.used[purpose as usize];
        used.set(used.get().saturating_sub(bytes));
    }

    /// Counts `bytes` of the kernel's own records, whether there is room or not: ask [`Account::room`] before.
    pub fn charge(&self, purpose: Purpose, bytes: u64) {
        self.take(purpose, bytes);
        self.records.set(self.records.get() + bytes);
    }

    /// Records of `bytes` are gone.
    pub fn uncharge(&self, purpose: Purpose, bytes: u64) {
        self.give_back(purpose, bytes);
        self.records.set(self.records.get().saturating_sub(bytes));
    }
}

/// The limit of a purpose, of `total` bytes, if nobody sets another.
fn usual(purpose: Purpose, total: u64) -> u64 {
    match purpose {
        Purpose::Programs => total,
        Purpose::Files => total / 4 * 3,
    }
}

/// Bytes counted for one owner of records; they are given back with it.
#[derive(Debug)]
pub struct Charge {
    account: Rc<Account>,
    purpose: Purpose,
    bytes: u64,
}

impl Charge {
    /// Nothing yet.
    pub fn new(account: &Rc<Account>, purpose: Purpose) -> Charge {
        Charge { account: account.clone(), purpose, bytes: 0 }
    }

    /// Counts `bytes` from now on, in place of what was counted before.
    pub fn set(&mut self, bytes: u64) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.account.charge(self.purpose, more),
            None => self.account.uncharge(self.purpose, self.bytes - bytes),
        }
        self.bytes = bytes;
    }

    /// Bytes that can still be had.
    pub fn room(&self) -> u64 {
        self.account.room(self.purpose)
    }

    /// Where it counts.
    pub fn account(&self) -> &Rc<Account> {
        &self.account
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.uncharge(self.purpose, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_have_limits_of_their_own_and_one_together() {
        let account = Account::new(64 << 20);
        assert_eq!(account.room(Purpose::Files), 48 << 20);
        account.charge(Purpose::Files, 40 << 20);
        assert_eq!(account.room(Purpose::Files), 8 << 20);
        assert_eq!(account.room(Purpose::Programs), 24 << 20);
        account.set_in_kernel(false);
        assert_eq!(account.room(Purpose::Programs), 23 << 20, "less the reserve");
        account.set_in_kernel(true);
        account.set_limit(Purpose::Programs, Some(1 << 20));
        assert_eq!(account.room(Purpose::Programs), 1 << 20);
        account.take(Purpose::Programs, 24 << 20);
        assert_eq!(account.room(Purpose::Files), 0, "nothing is left");
    }

    #[test]
    fn a_charge_ends_with_its_owner() {
        let account = Account::new(1 << 20);
        let mut charge = Charge::new(&account, Purpose::Programs);
        charge.set(5000);
        charge.set(300);
        assert_eq!((account.used(Purpose::Programs), account.records()), (300, 300));
        drop(charge);
        assert_eq!((account.all_used(), account.records()), (0, 0));
    }
}
