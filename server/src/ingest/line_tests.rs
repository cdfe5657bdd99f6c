//! Tests of reading lines: what is read, what is refused and why, and the one pass against a plain reader
//! that splits first and looks at the parts then.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// What is found in a body, a line each.
fn read(body: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    each_line::<Infallible>(body, |found| {
        all.push(match found {
            Found::Line(line, fields) => shown(&line, fields),
            Found::Unreadable(line, why) => format!("{}! {why}", String::from_utf8_lossy(line)),
        });
        Ok(())
    })
    .unwrap();
    all
}

fn shown(line: &Line<'_>, fields: &[Field<'_>]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|field| format!("{}={:?}", field.key, field.value)).collect();
    let own =
        |name: &str, value: Option<&str>| value.map_or(String::new(), |v| format!(" {name}:{v}"));
    let time = line.time.map_or(String::new(), |time| format!(" @{time}"));
    let (tenant, region) = (own("tenant", line.tenant), own("region", line.region));
    format!("{} {}{tenant}{region}{time}", line.series, fields.join(","))
        .replace("Number(", "")
        .replace("Text(", "")
        .replace(')', "")
}

#[track_caller]
fn check(body: &str, want: &[&str]) {
    assert_eq!(read(body.as_bytes()), want, "{body}");
    assert_eq!(read(body.as_bytes()), read_plainly(body), "{body}");
}

/// The same by another way: lines are cut first, by a state machine over characters.
fn read_plainly(body: &str) -> Vec<String> {
    let chars: Vec<char> = body.chars().collect();
    let mut all = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if " \t\r\n".contains(chars[at]) {
            at += 1;
            continue;
        }
        let end_of_line = |from: usize| {
            chars[from..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| from + n)
        };
        let text = |from: usize, to: usize| chars[from..to].iter().collect::<String>();
        if chars[at] == '#' {
            let (first, _) = cut(&chars[at..end_of_line(at)], &[' ']);
            if !first.iter().collect::<String>().contains(",_region=") {
                at = end_of_line(at);
                continue;
            }
        }
        match plain_line(&chars[at..]) {
            Ok((shown, length)) => {
                all.push(shown);
                at += length;
            }
            Err((why, length)) => {
                let end = end_of_line(at + length);
                all.push(format!("{}! {why}", text(at, end).trim_end_matches('\r')));
                at = end;
            }
        }
    }
    all
}

/// What comes before the first of `ends` that no backslash precedes, and the rest with it.
fn cut<'c>(chars: &'c [char], ends: &[char]) -> (&'c [char], &'c [char]) {
    let mut escaped = false;
    for (at, &c) in chars.iter().enumerate() {
        let takes = escaped && c != '\n';
        if !takes && ends.contains(&c) {
            return chars.split_at(at);
        }
        escaped = c == '\\' && !takes;
    }
    chars.split_at(chars.len())
}

type Plain = Result<(String, usize), (&'static str, usize)>;

/// Reads the line that `chars` begin with; says how long it is, or where it went wrong.
fn plain_line(chars: &[char]) -> Plain {
    let string = |chars: &[char]| chars.iter().collect::<String>();
    let place = |rest: &[char]| chars.len() - rest.len();
    let space = |mut rest: &[char]| -> usize {
        let all = rest.len();
        while let [' ' | '\t' | '\r', tail @ ..] = rest {
            rest = tail;
        }
        all - rest.len()
    };
    let (series, mut rest) = cut(chars, &[' ', '\n']);
    if series.is_empty() || series[0] == ',' {
        return Err(("missing measurement", place(rest)));
    }
    let tag = |name: &str| {
        let (mut found, mut rest) = (None, series);
        loop {
            let (part, tail) = cut(rest, &[',']);
            // The measurement comes first, and is no tag.
            if part.as_ptr() != series.as_ptr() {
                found = string(part).strip_prefix(name).map(str::to_owned).or(found);
            }
            match tail {
                [_, more @ ..] => rest = more,
                [] => return found,
            }
        }
    };
    let (tenant, region) = (tag("_tenant_id="), tag("_region="));
    rest = &rest[space(rest)..];
    if matches!(rest, [] | ['\n', ..]) {
        return Err(("missing fields", place(rest)));
    }
    let mut fields = Vec::new();
    loop {
        let (key, tail) = cut(rest, &['=', ',', ' ', '\n']);
        match tail {
            ['=', ..] if !key.is_empty() => rest = &tail[1..],
            ['=', ..] => return Err(("missing field key", place(tail))),
            _ if key.is_empty() => return Err(("missing field key", place(tail))),
            _ => return Err(("invalid field format", place(tail))),
        }
        let value;
        if let ['"', inside @ ..] = rest {
            let mut escaped = false;
            let end = inside.iter().position(|&c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let Some(end) = end else { return Err(("unbalanced quotes", place(rest))) };
            value = format!("{:?}", string(&inside[..end]));
            rest = &inside[end + 1..];
        } else {
            let end = rest.iter().position(|c| ", \t\r\n".contains(*c)).unwrap_or(rest.len());
            let text = string(&rest[..end]);
            rest = &rest[end..];
            value = plain_number(&text).map_err(|why| (why, place(rest)))?;
        }
        fields.push(format!("{}={value}", string(key)));
        match rest {
            [',', tail @ ..] => rest = tail,
            [] | [' ' | '\t' | '\r' | '\n', ..] => break,
            _ => return Err(("invalid field format", place(rest))),
        }
    }
    rest = &rest[space(rest)..];
    let mut time = String::new();
    if !matches!(rest, [] | ['\n', ..]) {
        let end = rest.iter().position(|c| " \t\r\n".contains(*c)).unwrap_or(rest.len());
        let text = string(&rest[..end]);
        rest = &rest[end..];
        let number = text.parse::<i64>().ok().filter(|_| !text.starts_with('+'));
        let Some(number) = number else { return Err(("bad timestamp", place(rest))) };
        time = format!(" @{number}");
        rest = &rest[space(rest)..];
        if !matches!(rest, [] | ['\n', ..]) {
            return Err(("point is invalid", place(rest)));
        }
    }
    let own =
        |name: &str, value: Option<String>| value.map_or(String::new(), |v| format!(" {name}:{v}"));
    let (tenant, region) = (own("tenant", tenant), own("region", region));
    let line = format!("{} {}{tenant}{region}{time}", string(series), fields.join(","));
    Ok((line.replace("Number(", "").replace("Text(", "").replace(')', ""), place(rest)))
}

fn plain_number(text: &str) -> Result<String, &'static str> {
    let Some(first) = text.chars().next() else { return Err("missing field value") };
    if "tTfF".contains(first) {
        return match text {
            "t" | "T" | "true" | "True" | "TRUE" => Ok("1.0".into()),
            "f" | "F" | "false" | "False" | "FALSE" => Ok("0.0".into()),
            _ => Err("invalid boolean"),
        };
    }
    if !"0123456789+-.".contains(first) {
        return Err("invalid field format");
    }
    let number = if let Some(digits) = text.strip_suffix('i') {
        digits.parse::<i64>().ok().map(|number| number as f64)
    } else if let Some(digits) = text.strip_suffix('u') {
        digits.parse::<u64>().ok().map(|number| number as f64)
    } else {
        // Its words for what is no number begin with other letters, behind a sign.
        let number: Option<f64> = text.parse().ok();
        number.filter(|number| number.is_finite())
    };
    number.map(|number| format!("{number:?}")).ok_or("invalid number")
}

#[test]
fn lines_are_read() {
    check("", &[]);
    check(" \n\r\n\t\n", &[]);
    check("cpu idle=1", &["cpu idle=1.0"]);
    check("cpu idle=1\n", &["cpu idle=1.0"]);
    check("cpu idle=1 17\r\ncpu idle=2\r\n", &["cpu idle=1.0 @17", "cpu idle=2.0"]);
    check("cpu,host=a,zone=b idle=1,user=2 -17", &["cpu,host=a,zone=b idle=1.0,user=2.0 @-17"]);
    check("  cpu   idle=1   17  ", &["cpu idle=1.0 @17"]);
    check("# a comment\ncpu idle=1\n#another,x=y z=1", &["cpu idle=1.0"]);
    check("cpu idle=1 17\n\n\ncpu idle=2 18\n\n", &["cpu idle=1.0 @17", "cpu idle=2.0 @18"]);
}

#[test]
fn every_kind_of_field_is_read() {
    let check =
        |value: &str, want: &str| check(&format!("m f={value} 1"), &[&format!("m f={want} @1")]);
    for (text, want) in [
        ("0", "0.0"),
        ("-0.0", "-0.0"),
        ("12.50", "12.5"),
        ("1e+16", "1e16"),
        ("1e-07", "1e-7"),
        ("1E5", "100000.0"),
        (".5", "0.5"),
        ("5.", "5.0"),
        ("+5", "5.0"),
        ("123456789012345678", "1.2345678901234568e17"),
        ("5i", "5.0"),
        ("-9223372036854775808i", "-9.223372036854776e18"),
        ("18446744073709551615u", "1.8446744073709552e19"),
        ("t", "1.0"),
        ("TRUE", "1.0"),
        ("true", "1.0"),
        ("F", "0.0"),
        ("False", "0.0"),
        (r#""""#, r#""""#),
        (r#""a b,c=d""#, r#""a b,c=d""#),
        (r#""{\"k\": \"v\"}""#, r#""{\\\"k\\\": \\\"v\\\"}""#),
        (r#""C:\\""#, r#""C:\\\\""#),
        ("\"two\nlines\"", r#""two\nlines""#),
    ] {
        check(text, want);
    }
}

#[test]
fn escapes_keep_parts_together() {
    check(r"m\ 1,t\,a\=g=v\ \,\=\\ f\ \,\=x=1 5", &[r"m\ 1,t\,a\=g=v\ \,\=\\ f\ \,\=x=1.0 @5"]);
    check(r"m,a=C:\ f=1", &[r"m,a=C:\ f=1! missing fields"]);
    check(r"m,a=C:\\ f=1", &[r"m,a=C:\\ f=1.0"]);
    check(r"mé\é f=1", &[r"mé\é f=1.0"]);
    // The end of a line cannot be escaped away.
    check("m,a=b\\\nm f=1", &["m,a=b\\! missing fields", "m f=1.0"]);
}

#[test]
fn lines_of_the_persister_are_read() {
    check(
        concat!(
            r#"cpu.idle,_region=RegionOne,_tenant_id=t1,dev\ ice=x\ yz/é,hostname=a value=0.5,"#,
            r#"value_meta="{\"k\": \"v0\"}" 1795165619123"#
        ),
        &[concat!(
            r#"cpu.idle,_region=RegionOne,_tenant_id=t1,dev\ ice=x\ yz/é,hostname=a value=0.5,"#,
            r#"value_meta="{\\\"k\\\": \\\"v0\\\"}" tenant:t1 region:RegionOne @1795165619123"#
        )],
    );
    check(
        r##"#metric,_region=r,_tenant_id=t value=1.0,value_meta="{}" 5"##,
        &[r##"#metric,_region=r,_tenant_id=t value=1.0,value_meta="{}" tenant:t region:r @5"##],
    );
    check("# comment ,_region=r value=1", &[]);
    check("m,a=b\\,_tenant_id=x f=1", &["m,a=b\\,_tenant_id=x f=1.0"]);
    check("m,_tenant_id=a\\ b,_tenant=c f=1", &["m,_tenant_id=a\\ b,_tenant=c f=1.0 tenant:a\\ b"]);
}

#[test]
fn what_is_wrong_is_told_and_the_rest_is_read() {
    for (line, why) in [
        ("bad line here", "invalid field format"),
        ("cpu", "missing fields"),
        ("cpu,host=a", "missing fields"),
        ("cpu ", "missing fields"),
        (",host=a f=1", "missing measurement"),
        ("cpu f", "invalid field format"),
        ("cpu f=", "missing field value"),
        ("cpu f= 5", "missing field value"),
        ("cpu =1", "missing field key"),
        ("cpu f=1,", "missing field key"),
        ("cpu f=1,,g=2", "missing field key"),
        ("cpu f=1, g=2", "missing field key"),
        ("cpu f=1 g=2", "bad timestamp"),
        ("cpu f=1x", "invalid number"),
        ("cpu f=1.2.3", "invalid number"),
        ("cpu f=-", "invalid number"),
        ("cpu f=.", "invalid number"),
        ("cpu f=1e", "invalid number"),
        ("cpu f=1e400", "invalid number"),
        ("cpu f=-inf", "invalid number"),
        ("cpu f=+nan", "invalid number"),
        ("cpu f=1.5i", "invalid number"),
        ("cpu f=9223372036854775808i", "invalid number"),
        ("cpu f=-1u", "invalid number"),
        ("cpu f=NaN", "invalid field format"),
        ("cpu f=inf", "invalid field format"),
        ("cpu f=tru", "invalid boolean"),
        ("cpu f=abc", "invalid field format"),
        (r#"cpu f="abc"#, "unbalanced quotes"),
        (r#"cpu f="abc\""#, "unbalanced quotes"),
        (r#"cpu f="abc"d"#, "invalid field format"),
        ("cpu f=1 1.5", "bad timestamp"),
        ("cpu f=1 x", "bad timestamp"),
        ("cpu f=1 -", "bad timestamp"),
        ("cpu f=1 +1", "bad timestamp"),
        ("cpu f=1 9223372036854775808", "bad timestamp"),
        ("cpu f=1 1 1", "point is invalid"),
    ] {
        let told = format!("{line}! {why}");
        check(&format!("a f=1 1\n{line}\nb f=2 2"), &["a f=1.0 @1", &told, "b f=2.0 @2"]);
        check(line, &[&told]);
    }
    let many = vec!["f=1"; FIELDS_MAX + 1].join(",");
    assert_eq!(read(format!("m {many}\nn f=1").as_bytes()).last().unwrap(), "n f=1.0");
    assert!(read(format!("m {many}").as_bytes())[0].ends_with("! too many fields"));
}

#[test]
fn lines_that_are_no_text_are_told_alone() {
    let body = b"a f=1 1\nb\xff f=2\nc f=3 3\n";
    assert_eq!(read(body), ["a f=1.0 @1", "b\u{fffd} f=2! invalid UTF-8", "c f=3.0 @3"]);
}

/// Lines, or something near them.
fn bodies() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => Just("cpu"),
        8 => Just(" "),
        8 => Just(",host=a"),
        8 => Just("f=1"),
        4 => Just("\n"),
        4 => Just(" 17"),
        4 => Just(","),
        2 => Just("="),
        2 => Just("\""),
        2 => Just("\\"),
        2 => Just("s=\"x y\""),
        2 => Just(",_tenant_id=t"),
        2 => Just(",_region=r"),
        1 => Just("#"),
        1 => Just("é"),
        1 => Just("\r"),
        1 => Just("\t"),
        1 => Just("-1.5e3"),
        1 => Just("7i"),
        1 => Just("7u"),
        1 => Just("true"),
        1 => Just("."),
    ];
    prop::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn one_pass_reads_what_a_plain_reader_reads(body in bodies()) {
        prop_assert_eq!(read(body.as_bytes()), read_plainly(&body));
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(text) = std::str::from_utf8(&body) {
            prop_assert_eq!(read(&body), read_plainly(text));
        } else {
            read(&body);
        }
    }

    #[test]
    fn numbers_are_the_nearest_doubles(text in "[-+]?[0-9]{0,20}(\\.[0-9]{0,18})?([eE][-+]?[0-9]{0,3})?") {
        let exact: Option<f64> = text.parse().ok().filter(|value: &f64| value.is_finite());
        prop_assert_eq!(number(&text).map(f64::to_bits), exact.map(f64::to_bits), "{}", text);
    }
}
