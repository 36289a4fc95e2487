//! What a run's first process may do, as docker's options and the steering variables say it: capabilities, groups, resource
//! limits, a root file system that cannot be changed.

/// Rights of one run; the default is what docker gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// `BOXER_CAPABILITIES`: the capabilities that there are for any process, as a set by number; none = docker's default.
    pub capabilities: Option<u64>,
    /// `BOXER_GROUPS`: further groups of the first process, names or numbers.
    pub groups: Vec<String>,
    /// `BOXER_ULIMITS`: resource limits other than docker's.
    pub ulimits: Vec<Ulimit>,
    /// `BOXER_READ_ONLY`: whether the image's files can be changed; mounts are what they are.
    pub read_only: bool,
    /// `BOXER_NO_NEW_PRIVILEGES`: whether set-id bits give nothing.
    pub no_new_privileges: bool,
}

/// One resource limit (getrlimit(2)); `u64::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// `RLIMIT_*`.
    pub resource: usize,
    /// What holds.
    pub soft: u64,
    /// What it may be raised to.
    pub hard: u64,
}

/// Names of `--ulimit`, by number of the resource.
const RESOURCES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// capabilities(7), by number.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Docker's default capabilities: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service,
/// net_raw, sys_chroot, mknod, audit_write, setfcap.
pub const DOCKER_CAPABILITIES: u64 = 0xa804_25fb;
/// What can be added to them: capabilities that a box checks and whose every use it knows: ipc_owner, sys_ptrace, sys_resource, lease.
const ADDABLE: u64 = 1 << 15 | 1 << 19 | 1 << 24 | 1 << 28;

impl Ulimit {
    /// `NAME=SOFT[:HARD]`, as docker reads it: -1 is no limit, a missing HARD is SOFT.
    pub fn parse(text: &str) -> Result<Ulimit, String> {
        let form = || format!("{text:?} must be of the form NAME=SOFT[:HARD]");
        let (name, values) = text.split_once('=').ok_or_else(form)?;
        let resource = RESOURCES.iter().position(|known| *known == name.trim());
        let resource = resource.ok_or_else(|| {
            format!("{name:?} is no resource; there are {}", RESOURCES.join(", "))
        })?;
        let value = |word: &str| match word.trim() {
            "-1" | "unlimited" => Ok(u64::MAX),
            word => word.parse::<u64>().map_err(|_| form()),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (value(soft)?, value(hard)?);
        if soft > hard {
            return Err(format!("{text:?}: the soft limit is above the hard one"));
        }
        Ok(Ulimit { resource, soft, hard })
    }
}

/// The capabilities that are left when `drop` is taken from docker's default and `add` is added to it: names of
/// capabilities(7), with `CAP_` or without, in any case, or `ALL`.
pub fn capabilities(add: &[String], drop: &[String]) -> Result<u64, String> {
    let set = |words: &[String]| -> Result<(u64, bool), String> {
        let (mut set, mut all) = (0, false);
        for word in words.iter().flat_map(|word| word.split(',')) {
            let name = word.trim().to_ascii_uppercase();
            let name = name.strip_prefix("CAP_").unwrap_or(&name);
            match CAPABILITIES.iter().position(|known| *known == name) {
                Some(number) => set |= 1 << number,
                None if name == "ALL" => all = true,
                None => return Err(format!("{word:?} is no capability")),
            }
        }
        Ok((set, all))
    };
    let ((add, add_all), (drop, drop_all)) = (set(add)?, set(drop)?);
    let strange = add & !(DOCKER_CAPABILITIES | ADDABLE);
    if add_all || strange != 0 {
        let name = CAPABILITIES.get(strange.trailing_zeros() as usize).filter(|_| !add_all);
        let names = |set: u64| {
            let has = |number: &usize| set >> number & 1 != 0;
            let named: Vec<&str> =
                (0..CAPABILITIES.len()).filter(has).map(|n| CAPABILITIES[n]).collect();
            named.join(", ")
        };
        return Err(format!(
            "a box cannot have {}; it has docker's default, and can be given {}",
            name.unwrap_or(&"ALL"),
            names(ADDABLE)
        ));
    }
    let base = if drop_all { 0 } else { DOCKER_CAPABILITIES & !drop };
    Ok(base | add)
}

impl Rights {
    /// The environment variables that carry them.
    pub fn to_env(&self) -> Vec<(&'static str, String)> {
        let limit =
            |value: u64| if value == u64::MAX { "-1".to_owned() } else { value.to_string() };
        let ulimits: Vec<String> = self
            .ulimits
            .iter()
            .map(|u| format!("{}={}:{}", RESOURCES[u.resource], limit(u.soft), limit(u.hard)))
            .collect();
        let list = |words: &[String]| Some(words.join(",")).filter(|list| !list.is_empty());
        let yes = |is: bool| is.then(|| "1".to_owned());
        let all = [
            ("BOXER_CAPABILITIES", self.capabilities.map(|set| format!("{set:x}"))),
            ("BOXER_GROUPS", list(&self.groups)),
            ("BOXER_ULIMITS", list(&ulimits)),
            ("BOXER_READ_ONLY", yes(self.read_only)),
            ("BOXER_NO_NEW_PRIVILEGES", yes(self.no_new_privileges)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Takes one of the variables, without `BOXER_`; false if the name is none of them. A value that cannot be read is the
    /// error's text.
    pub fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let on = value != "0" && !value.is_empty();
        let words = || value.split(',').filter(|word| !word.is_empty());
        match name {
            "CAPABILITIES" => {
                let set = u64::from_str_radix(value, 16).ok();
                let set = set.filter(|set| set & !(DOCKER_CAPABILITIES | ADDABLE) == 0);
                self.capabilities = Some(set.ok_or_else(|| {
                    format!("{value:?} is no set of capabilities that a box can have")
                })?);
            }
            "GROUPS" => self.groups = words().map(str::to_owned).collect(),
            "ULIMITS" => self.ulimits = words().map(Ulimit::parse).collect::<Result<_, _>>()?,
            "READ_ONLY" => self.read_only = on,
            "NO_NEW_PRIVILEGES" => self.no_new_privileges = on,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str]) -> Option<u64> {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        capabilities(&words(add), &words(drop)).ok()
    }

    #[test]
    fn capabilities_are_dockers() {
        assert_eq!(set(&[], &[]), Some(DOCKER_CAPABILITIES));
        assert_eq!(set(&[], &["all"]), Some(0));
        assert_eq!(set(&["chown", "CAP_KILL"], &["ALL"]), Some(1 | 1 << 5));
        assert_eq!(
            set(&["SYS_PTRACE"], &["chown,mknod"]),
            Some(DOCKER_CAPABILITIES & !1 & !(1 << 27) | 1 << 19)
        );
        for (add, drop) in [("ALL", ""), ("SYS_ADMIN", ""), ("NET_ADMIN", ""), ("", "NONSENSE")] {
            let words = |word: &'static str| if word.is_empty() { vec![] } else { vec![word] };
            assert_eq!(set(&words(add), &words(drop)), None, "{add} {drop}");
        }
    }

    #[test]
    fn ulimits_are_dockers() {
        let some = |resource, soft, hard| Ok(Ulimit { resource, soft, hard });
        assert_eq!(Ulimit::parse("nofile=100:200"), some(7, 100, 200));
        assert_eq!(Ulimit::parse("core=-1"), some(4, u64::MAX, u64::MAX));
        for bad in ["nofile", "nofile=", "nofile=x", "nofile=2:1", "files=1", "nofile=1:2:3"] {
            assert!(Ulimit::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_passed_on_is_understood() {
        let rights = Rights {
            capabilities: Some(1),
            groups: vec!["video".into(), "7".into()],
            ulimits: vec![Ulimit { resource: 7, soft: 5, hard: u64::MAX }],
            read_only: true,
            no_new_privileges: true,
        };
        let mut read = Rights::default();
        for (name, value) in rights.to_env() {
            assert_eq!(read.take(name.trim_start_matches("BOXER_"), &value), Ok(true));
        }
        assert_eq!(read, rights);
        assert_eq!(read.take("USER", "x"), Ok(false));
        assert!(read.take("CAPABILITIES", "200000").is_err());
    }
}
