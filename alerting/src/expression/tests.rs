//! The grammar, case by case.

use proptest::prelude::*;

use super::*;

/// The canonical texts of the parts and the structure, or the column of the error.
fn shown(text: &str) -> String {
    fn tree(node: &Node) -> String {
        let list = |nodes: &[Node], word: &str| {
            format!("({})", nodes.iter().map(tree).collect::<Vec<_>>().join(word))
        };
        match node {
            Node::Part(at) => at.to_string(),
            Node::And(nodes) => list(nodes, "&"),
            Node::Or(nodes) => list(nodes, "|"),
        }
    }
    match Expression::parse(text) {
        Ok(expression) => {
            let parts: Vec<String> = expression.parts.iter().map(Part::to_string).collect();
            format!("{} {}", tree(&expression.root), parts.join("; "))
        }
        Err(Error::Expression { column, .. }) => format!("column {column}"),
        Err(other) => panic!("{other}"),
    }
}

fn check(text: &str, want: &str) {
    assert_eq!(shown(text), want, "{text}");
}

#[test]
fn canonical_text() {
    check("avg(cpu) > 5", "0 avg(cpu) > 5.0");
    check(
        "AVG(cpu{b=2, a=1},deterministic,120)LT 10.5 TIMES 3",
        "0 avg(cpu{a=1, b=2}, deterministic, 120) < 10.5 times 3",
    );
    check("max(a,60) >= 21474836480 times 1", "0 max(a) >= 21474836480.0");
    check("last(a, 7) <= - 5", "0 last(a, 7) <= -5.0");
    check("count(a{}) gte 1", "0 count(a) >= 1.0");
}

#[test]
fn the_function_is_implied_by_the_operator() {
    check("a > 1 times 2", "0 max(a) > 1.0 times 2");
    check("a{x=y} lte 1", "0 min(a{x=y}) <= 1.0");
}

#[test]
fn structure() {
    check("a>1 or b>1 and c>1", "(0|(1&2)) max(a) > 1.0; max(b) > 1.0; max(c) > 1.0");
    check("(a>1 || b>1) && c>1", "((0|1)&2) max(a) > 1.0; max(b) > 1.0; max(c) > 1.0");
    check("((a>1))", "0 max(a) > 1.0");
    check("a>1 and b>1 and c>1", "(0&1&2) max(a) > 1.0; max(b) > 1.0; max(c) > 1.0");
}

#[test]
fn words_abut_and_keywords_are_names() {
    check("max(a)gte1", "0 max(a) >= 1.0");
    check("a>1times3", "0 max(a) > 1.0 times 3");
    check("a>1&&b>2", "(0&1) max(a) > 1.0; max(b) > 2.0");
    check("a>1 andb>2", "(0&1) max(a) > 1.0; max(b) > 2.0");
    check("max(max)>1", "0 max(max) > 1.0");
    check("and>1", "0 max(and) > 1.0");
    check("deterministic>1", "0 max(deterministic) > 1.0");
    check("1>2", "0 max(1) > 2.0");
    check("a\n>\t1\n", "0 max(a) > 1.0");
}

#[test]
fn names_and_dimensions() {
    check("max(größe.µ/s{dev name = a b , x=y}) > 1", "0 max(größe.µ/s{dev name=a b, x=y}) > 1.0");
    check("max(a{x=1,x=2})>1", "0 max(a{x=2}) > 1.0");
    check("max(a{x= })>1", "column 10");
    check("max(a\u{1f600})>1", "column 6");
    check("max(a\"b)>1", "column 6");
    check(&format!("{}>1", "n".repeat(255)), &format!("0 max({}) > 1.0", "n".repeat(255)));
    check(&format!("{}>1", "n".repeat(256)), "column 256");
}

#[test]
fn what_is_refused_and_where() {
    check("", "column 1");
    check("a", "column 2");
    check("avg(a) >", "column 9");
    check("avg(a) > .5", "column 10");
    check("avg(a) > 1.", "column 11");
    check("avg(a) > +1", "column 10");
    check("avg(a) > 1e3", "column 11");
    check("median(a) > 1", "column 1");
    check("avg(a, 0) > 1", "column 8");
    check("avg(a, 60, deterministic) > 1", "column 10");
    check("a{x=y},deterministic>1", "column 7");
    check("a > 1 times 0", "column 13");
    check("a > 1 times", "column 12");
    check("a > 1 and", "column 10");
    check("(a > 1", "column 7");
    check("a > 1 b > 1", "column 7");
    check("avg(a, 99999999999) > 1", "column 8");
    check(&format!("a > {}", "9".repeat(400)), "column 5");
}

#[test]
fn bounds() {
    let nested = |depth| format!("{}a>1{}", "(".repeat(depth), ")".repeat(depth));
    check(&nested(64), "0 max(a) > 1.0");
    check(&nested(65), "column 66");
    let parts = |count| vec!["a>1"; count].join(" or ");
    assert!(Expression::parse(&parts(64)).is_ok());
    assert!(Expression::parse(&parts(65)).is_err());
    assert!(Expression::parse(&format!("a>1{}", " ".repeat(4093))).is_ok());
    assert!(Expression::parse(&format!("a>1{}", " ".repeat(4094))).is_err());
}

#[test]
fn decimals() {
    let check = |value: f64, want: &str| assert_eq!(decimal(value), want);
    check(5.0, "5.0");
    check(-0.5, "-0.5");
    check(1e21, "1000000000000000000000.0");
    check(1e-20, "0.0");
    check(0.1 + 0.2, "0.3");
    check(25.75, "25.75");
}

proptest! {
    #[test]
    fn any_text_parses_or_fails(text in "[a-c(){}<>=&|,.0-9 -]{0,40}|.{0,40}") {
        let _ = Expression::parse(&text);
    }

    #[test]
    fn the_canonical_text_means_the_same(
        function in 0usize..6, threshold in -1_000_000i32..1_000_000, period in 1u32..4000,
        periods in 1u32..9, deterministic: bool, up: bool, dimension: bool,
    ) {
        let part = Part {
            function: Function::NAMED[function].1,
            metric: "m.x".into(),
            dimensions: if dimension { [("k", "v w")].into_iter().collect() } else { Dimensions::none() },
            operator: if up { Operator::Gte } else { Operator::Lt },
            threshold: f64::from(threshold) / 1000.0,
            period, periods, deterministic,
        };
        let parsed = Expression::parse(&part.to_string()).unwrap();
        prop_assert_eq!(parsed.parts, vec![part]);
    }
}
