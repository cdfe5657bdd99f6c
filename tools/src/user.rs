//! Who runs a command, for the records of what was removed.

use std::fs::read_to_string;

/// The user's name, or the number if nothing tells the name; never empty.
pub(crate) fn name() -> String {
    let variable = |name: &str| std::env::var(name).ok();
    named(variable, &read_to_string("/proc/self/status").unwrap_or_default())
}

/// The name by the variables, which a service or a container may lack, else the number in what the kernel
/// tells of this process.
fn named(variable: impl Fn(&str) -> Option<String>, status: &str) -> String {
    let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let number = || {
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        Some(format!("uid {}", line.split_ascii_whitespace().next()?))
    };
    given("USER").or_else(|| given("LOGNAME")).or_else(number).unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_always_named() {
        let check = |variables: &[(&str, &str)], status: &str, want: &str| {
            let value = |name: &str| {
                let found = variables.iter().find(|(have, _)| *have == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(named(value, status), want);
        };
        let status = "Name:\tmoneta\nUid:\t1000\t1001\t1000\t1000\nGid:\t5\t5\t5\t5\n";
        check(&[("USER", "carol"), ("LOGNAME", "dave")], status, "carol");
        check(&[("LOGNAME", "dave")], status, "dave");
        check(&[("USER", " "), ("LOGNAME", "")], status, "uid 1000");
        check(&[], status, "uid 1000");
        check(&[], "Uid:\n", "unknown");
        check(&[], "", "unknown");
        assert!(!name().is_empty());
    }
}
