//! What a run of a box may use, as the command line and the steering variables say it: sizes as docker writes them
//! (`512m`), durations as Go does (`1m30s`).

/// Limits of one run; `None` is the default, or no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `BOXER_MEMORY`: bytes of memory for programs.
    pub memory: Option<u64>,
    /// `BOXER_STORAGE`: bytes for files in memory.
    pub storage: Option<u64>,
    /// `BOXER_TIMEOUT`: nanoseconds from the start.
    pub timeout: Option<u64>,
    /// `BOXER_CPU_TIME`: nanoseconds of CPU time of all processes together.
    pub cpu_time: Option<u64>,
    /// `BOXER_PIDS`: threads at once.
    pub pids: Option<u32>,
    /// `BOXER_INSTRUCTIONS`: instructions that all processes together execute.
    pub instructions: Option<u64>,
    /// `BOXER_OPEN_FILES`: open files of all processes together.
    pub open_files: Option<u64>,
}

impl Limits {
    /// The environment variables that carry them.
    pub fn to_env(&self) -> Vec<(&'static str, String)> {
        let nanoseconds = |ns: Option<u64>| ns.map(|ns| format!("{ns}ns"));
        let all = [
            ("BOXER_MEMORY", self.memory.map(|bytes| bytes.to_string())),
            ("BOXER_STORAGE", self.storage.map(|bytes| bytes.to_string())),
            ("BOXER_TIMEOUT", nanoseconds(self.timeout)),
            ("BOXER_CPU_TIME", nanoseconds(self.cpu_time)),
            ("BOXER_PIDS", self.pids.map(|count| count.to_string())),
            ("BOXER_INSTRUCTIONS", self.instructions.map(|count| count.to_string())),
            ("BOXER_OPEN_FILES", self.open_files.map(|count| count.to_string())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Takes one of the variables, without `BOXER_`; false if the name is none of them. A value that cannot be read is the
    /// error's text.
    pub fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "MEMORY" => self.memory = size(value)?,
            "STORAGE" => self.storage = size(value)?,
            "TIMEOUT" => self.timeout = duration(value)?,
            "CPU_TIME" => self.cpu_time = duration(value)?,
            "PIDS" => self.pids = count(value)?,
            "INSTRUCTIONS" => self.instructions = number_of(value, "instructions")?,
            "OPEN_FILES" => self.open_files = number_of(value, "open files")?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// How a box says that it ends because its programs have executed as many instructions as they may.
pub fn instructions_used_up(limit: u64) -> String {
    format!("the limit of {limit} instructions is used up")
}

/// How it says that it ends because they have had so many nanoseconds of CPU time.
pub fn cpu_time_used_up(limit: u64) -> String {
    format!("the limit of {} s of CPU time is used up", limit as f64 / 1e9)
}

/// Splits a number with an optional fraction from what follows it.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

/// A number of bytes with a binary unit, as docker reads it: `64k`, `512m`, `1.5g`, `2GiB`. 0 is no limit.
pub fn size(text: &str) -> Result<Option<u64>, String> {
    let wrong = || format!("{text:?} is not a size such as 512m or 2g");
    let (value, unit) = number(text.trim()).ok_or_else(wrong)?;
    let unit = unit.trim().to_ascii_lowercase();
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    let bytes = value * (1_u64 << shift) as f64;
    Ok(Some(bytes as u64).filter(|bytes| *bytes > 0))
}

/// A duration in nanoseconds: `10s`, `5m`, `1h30m`, `500ms`; a bare number is seconds. 0 is no limit.
pub fn duration(text: &str) -> Result<Option<u64>, String> {
    let wrong = || format!("{text:?} is not a duration such as 10s or 5m");
    let whole = text.trim();
    let mut rest = whole;
    let mut total = 0.0;
    loop {
        let (value, after) = number(rest).ok_or_else(wrong)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        total += value
            * match unit {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "" if rest == whole => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(wrong()),
            };
        rest = next;
        if rest.is_empty() {
            return Ok(Some(total as u64).filter(|ns| *ns > 0));
        }
    }
}

/// A number of threads; 0 and -1 are no limit (as docker has it) beyond what a box can hold.
pub fn count(text: &str) -> Result<Option<u32>, String> {
    match text.trim().parse::<i64>() {
        Ok(-1 | 0) => Ok(Some(u32::MAX)),
        Ok(n) if n > 0 => Ok(Some(u32::try_from(n).unwrap_or(u32::MAX))),
        _ => Err(format!("{text:?} is not a number of threads")),
    }
}

/// A number of `what`, as `5000000`, or with a decimal unit, as `1.5g` (1,500,000,000). 0 is no limit.
pub fn number_of(text: &str, what: &str) -> Result<Option<u64>, String> {
    let wrong = || format!("{text:?} is not a number of {what} such as 5000000 or 2g");
    let whole = text.trim();
    if let Ok(exact) = whole.parse::<u64>() {
        return Ok(Some(exact).filter(|count| *count > 0));
    }
    let (value, unit) = number(whole).ok_or_else(wrong)?;
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        _ => return Err(wrong()),
    };
    Ok(Some((value * scale) as u64).filter(|count| *count > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        let ok = |text: &str| size(text).ok().flatten();
        assert_eq!(ok("512m"), Some(512 << 20));
        assert_eq!(ok("1.5G"), Some(3 << 29));
        assert_eq!((ok("2GiB"), ok("64kb"), ok("7")), (Some(2 << 30), Some(64 << 10), Some(7)));
        assert_eq!(size("0"), Ok(None));
        for bad in ["", "m", "5x", "-1", "1..2"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_gos_and_seconds() {
        let ok = |text: &str| duration(text).ok().flatten();
        assert_eq!(ok("10"), Some(10_000_000_000));
        assert_eq!(ok("1m30s"), Some(90_000_000_000));
        assert_eq!((ok("500ms"), ok("7ns")), (Some(500_000_000), Some(7)));
        for bad in ["", "s", "5x", "1m30", "-1s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_are_exact_or_have_a_decimal_unit() {
        let ok = |text: &str| number_of(text, "x").ok().flatten();
        assert_eq!((ok("18446744073709551615"), ok("7")), (Some(u64::MAX), Some(7)));
        assert_eq!((ok("1.5g"), ok("2K"), ok("0")), (Some(1_500_000_000), Some(2_000), None));
        for bad in ["", "g", "5x", "-1", "1.2.3"] {
            assert!(number_of(bad, "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_passed_on_is_understood() {
        let limits = Limits {
            memory: Some(5),
            storage: Some(6),
            timeout: Some(7),
            cpu_time: Some(8),
            pids: Some(9),
            instructions: Some(u64::MAX),
            open_files: Some(11),
        };
        let mut read = Limits::default();
        for (name, value) in limits.to_env() {
            let name = name.trim_start_matches("BOXER_");
            assert_eq!(read.take(name, &value), Ok(true));
        }
        assert_eq!(read, limits);
        assert_eq!(read.take("USER", "x"), Ok(false));
    }
}
