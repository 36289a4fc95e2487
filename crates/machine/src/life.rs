//! A box between two lives (`kernel::moments`): what the machine does when one ends and when the next begins.

use crate::{Machine, StartArgs, StartFailure, Unfit};
use kernel::moments::Beginning;
use rootfs::rights::Rights;

impl Machine {
    /// Ends this life, so that a snapshot of it can be taken; [`Machine::start`] begins the next. The host stays until then, and
    /// is not asked for anything.
    ///
    /// # Errors
    /// Something of the host is part of the state.
    pub fn end_life(&mut self) -> Result<(), Unfit> {
        self.kernel.end_life()?;
        self.engine.forget_host();
        Ok(())
    }

    /// The table of the regions that come with the box was written after programs have run: code that was decoded enters them.
    pub fn thaw_here(&mut self) {
        if let Some(frozen) = self.frozen_regions() {
            self.engine.thaw_here(frozen);
        }
    }

    /// Takes [`Machine::end_life`] back: the box goes on with the host that it has, which is listened to anew.
    pub fn live_on(&mut self) {
        self.kernel.live_on();
    }

    /// Begins a life of a box that was a snapshot.
    pub(crate) fn go_on(&mut self, args: &StartArgs) -> Result<(), StartFailure> {
        if self.kernel.has_programs() {
            if let Some(what) = self.too_late(args) {
                return Err(StartFailure::TooLate(what));
            }
            self.thaw(args.interpret);
        }
        let bytes = |words: &[String]| words.iter().map(|w| w.clone().into_bytes()).collect();
        let hostname = args.hostname.as_ref().unwrap_or(&self.config.hostname);
        let beginning = Beginning {
            env: if self.kernel.has_programs() { bytes(&args.env) } else { Vec::new() },
            hostname: hostname.clone().into_bytes(),
            naming: args.naming.clone(),
            limits: args.limits,
        };
        self.kernel.begin_life(&beginning);
        Ok(())
    }

    /// What only a program that is yet to be started can be given.
    fn too_late(&self, args: &StartArgs) -> Option<&'static str> {
        let all = [
            (!args.args.is_empty(), "arguments"),
            (args.entrypoint.is_some(), "an entrypoint"),
            (args.workdir.is_some(), "a working directory"),
            (args.user.is_some(), "a user"),
            (args.cpu.is_some_and(|cpu| cpu != self.level()), "another processor"),
            (args.init, "--init"),
            (args.pause, "--pause"),
            (args.tty_wanted && !self.kernel.has_console(), "a terminal"),
            (args.rights != Rights::default(), "other rights, groups or ulimits"),
        ];
        all.into_iter().find(|(asked, _)| *asked).map(|(_, what)| what)
    }
}
