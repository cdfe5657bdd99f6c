//! The grammar, by recursive descent without a separate lexer: words may abut numbers and signs, and
//! every keyword is also a legal metric name, so what a word means depends on where it stands.
//!
//! ```text
//! or_expr  = and_expr *( ( "or"  | "||" ) and_expr )
//! and_expr = term     *( ( "and" | "&&" ) term )
//! term     = "(" or_expr ")" | comparison
//! ```

use moneta_storage::model::Dimensions;

use super::{
    EXPRESSION_CHARS_MAX, Expression, Function, NESTING_MAX, Node, Operator, PARTS_MAX, Part,
};
use crate::error::Error;

/// Longest name or value, in characters.
const NAME_CHARS_MAX: usize = 255;

pub(super) fn parse(text: &str) -> Result<Expression, Error> {
    let chars: Vec<char> = text.chars().take(EXPRESSION_CHARS_MAX + 1).collect();
    let mut parser = Parser { text, chars, at: 0, depth: 0, parts: Vec::new() };
    if parser.chars.len() > EXPRESSION_CHARS_MAX {
        parser.at = EXPRESSION_CHARS_MAX;
        return Err(parser.fail(format!("longer than {EXPRESSION_CHARS_MAX} characters")));
    }
    let root = parser.or_expr()?;
    parser.space();
    if parser.peek().is_some() {
        return Err(parser.fail("expected 'and', 'or' or the end"));
    }
    Ok(Expression { root, parts: parser.parts })
}

struct Parser<'a> {
    text: &'a str,
    chars: Vec<char>,
    at: usize,
    depth: usize,
    parts: Vec<Part>,
}

impl Parser<'_> {
    fn fail(&self, message: impl Into<String>) -> Error {
        Error::Expression {
            // A text that is too long is not repeated in full.
            expression: self.text.chars().take(EXPRESSION_CHARS_MAX).collect(),
            column: self.at + 1,
            message: message.into(),
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Skips white space, then takes `word` in any letter case, if it comes next.
    fn take(&mut self, word: &str) -> bool {
        self.space();
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let mut count = 0;
        for want in word.chars() {
            if !rest.get(count).is_some_and(|have| have.eq_ignore_ascii_case(&want)) {
                return false;
            }
            count += 1;
        }
        self.at += count;
        true
    }

    fn expect(&mut self, word: &str) -> Result<(), Error> {
        if self.take(word) { Ok(()) } else { Err(self.fail(format!("expected '{word}'"))) }
    }

    fn or_expr(&mut self) -> Result<Node, Error> {
        let first = self.and_expr()?;
        let mut nodes = vec![first];
        while self.take("||") || self.take("or") {
            nodes.push(self.and_expr()?);
        }
        Ok(joined(nodes, Node::Or))
    }

    fn and_expr(&mut self) -> Result<Node, Error> {
        let first = self.term()?;
        let mut nodes = vec![first];
        while self.take("&&") || self.take("and") {
            nodes.push(self.term()?);
        }
        Ok(joined(nodes, Node::And))
    }

    fn term(&mut self) -> Result<Node, Error> {
        if !self.take("(") {
            return self.comparison();
        }
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(self.fail(format!("parentheses nest deeper than {NESTING_MAX}")));
        }
        let node = self.or_expr()?;
        self.expect(")")?;
        self.depth -= 1;
        Ok(node)
    }

    fn comparison(&mut self) -> Result<Node, Error> {
        if self.parts.len() >= PARTS_MAX {
            return Err(self.fail(format!("more than {PARTS_MAX} comparisons")));
        }
        self.space();
        let start = self.at;
        let name = self.metric_name()?;
        let function = if self.take("(") {
            let named = |(word, _): &&(&str, Function)| name.eq_ignore_ascii_case(word);
            let Some((_, function)) = Function::NAMED.iter().find(named) else {
                self.at = start;
                return Err(self.fail("expected min, max, sum, count, avg or last"));
            };
            Some(*function)
        } else {
            None
        };
        let (mut deterministic, mut period) = (false, 60);
        let (metric, dimensions) = if function.is_some() {
            self.space();
            let metric = self.metric_name()?;
            let dimensions = self.dimensions()?;
            (deterministic, period) = self.window()?;
            (metric, dimensions)
        } else {
            (name, self.dimensions()?)
        };
        let operator = self.operator()?;
        let threshold = self.threshold()?;
        let periods = if self.take("times") { self.periods()? } else { 1 };
        let implied = if operator.upward() { Function::Max } else { Function::Min };
        self.parts.push(Part {
            function: function.unwrap_or(implied),
            metric,
            dimensions,
            operator,
            threshold,
            period,
            periods,
            deterministic,
        });
        Ok(Node::Part(self.parts.len() - 1))
    }

    /// `[ "," "deterministic" ] [ "," period ] ")"`
    fn window(&mut self) -> Result<(bool, u32), Error> {
        let (mut deterministic, mut period) = (false, 60);
        let mut comma = self.take(",");
        if comma && self.take("deterministic") {
            deterministic = true;
            comma = self.take(",");
        }
        if comma {
            self.space();
            let start = self.at;
            period = self.integer(if deterministic {
                "expected a period"
            } else {
                "expected 'deterministic' or a period"
            })?;
            if period == 0 {
                self.at = start;
                return Err(self.fail("Period must not be 0"));
            }
        }
        self.expect(")")?;
        Ok((deterministic, period))
    }

    fn periods(&mut self) -> Result<u32, Error> {
        self.space();
        let start = self.at;
        let periods = self.integer("expected a number of periods")?;
        if periods == 0 {
            self.at = start;
            return Err(self.fail("Periods 0 must be 1 or greater"));
        }
        Ok(periods)
    }

    fn metric_name(&mut self) -> Result<String, Error> {
        self.name("expected a metric name", is_name_char)
    }

    fn name(&mut self, expected: &str, inside: impl Fn(char) -> bool) -> Result<String, Error> {
        let start = self.at;
        let rest = self.chars.get(start..).unwrap_or_default();
        let name: String = rest.iter().take_while(|c| inside(**c)).collect();
        let length = name.chars().count();
        if name.trim_end().is_empty() {
            return Err(self.fail(expected));
        }
        if name.trim_end().chars().count() > NAME_CHARS_MAX {
            self.at += NAME_CHARS_MAX;
            return Err(self.fail(format!("a name is longer than {NAME_CHARS_MAX} characters")));
        }
        self.at += length;
        Ok(name.trim_end().to_owned())
    }

    fn dimensions(&mut self) -> Result<Dimensions, Error> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        if !self.take("{") || self.take("}") {
            return Ok(Dimensions::none());
        }
        loop {
            self.space();
            // Of a name given twice the last value counts, as in the reference.
            let name = self.name("expected a dimension name", is_dimension_char)?;
            self.expect("=")?;
            self.space();
            let value = self.name("expected a dimension value", is_dimension_char)?;
            pairs.push((name, value));
            if self.take("}") {
                return Ok(Dimensions::from_pairs(pairs));
            }
            if !self.take(",") {
                return Err(self.fail("expected ',' or '}'"));
            }
        }
    }

    fn operator(&mut self) -> Result<Operator, Error> {
        // The longer spelling comes before the one it begins with.
        let spellings = [
            ("<=", Operator::Lte),
            ("<", Operator::Lt),
            (">=", Operator::Gte),
            (">", Operator::Gt),
            ("lte", Operator::Lte),
            ("lt", Operator::Lt),
            ("gte", Operator::Gte),
            ("gt", Operator::Gt),
        ];
        for (word, operator) in spellings {
            if self.take(word) {
                return Ok(operator);
            }
        }
        Err(self.fail("expected <, <=, >, >=, lt, lte, gt or gte"))
    }

    fn digits(&mut self) -> String {
        let rest = self.chars.get(self.at..).unwrap_or_default();
        let digits: String = rest.iter().take_while(|c| c.is_ascii_digit()).collect();
        self.at += digits.len();
        digits
    }

    fn integer(&mut self, expected: &str) -> Result<u32, Error> {
        let start = self.at;
        let digits = self.digits();
        digits.parse().map_err(|_| {
            self.at = start;
            self.fail(if digits.is_empty() { expected } else { "the number is too large" })
        })
    }

    fn threshold(&mut self) -> Result<f64, Error> {
        let mut text = String::new();
        if self.take("-") {
            text.push('-');
        }
        self.space();
        let start = self.at;
        let whole = self.digits();
        if whole.is_empty() {
            return Err(self.fail("expected a number"));
        }
        text.push_str(&whole);
        let fraction_follows = self.peek() == Some('.')
            && self.chars.get(self.at + 1).is_some_and(char::is_ascii_digit);
        if fraction_follows {
            self.at += 1;
            text.push('.');
            text.push_str(&self.digits());
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            Ok(_) | Err(_) => {
                self.at = start;
                Err(self.fail("the number is too large"))
            }
        }
    }
}

fn joined(mut nodes: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(only) if nodes.is_empty() => only,
        Some(last) => {
            nodes.push(last);
            join(nodes)
        }
        None => join(nodes),
    }
}

/// Letters, digits, a set of signs, and everything that is not ASCII, up to U+FFFF, but white space.
fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "._-#!$%&'*+/:;?@[\\]^`|~".contains(c)
        || ('\u{80}'..='\u{ffff}').contains(&c) && !c.is_whitespace()
}

fn is_dimension_char(c: char) -> bool {
    c == ' ' || is_name_char(c)
}
