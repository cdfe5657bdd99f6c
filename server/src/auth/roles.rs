//! Names of roles, and what they grant.

use super::Right;

/// Which roles grant what: the groups of Monasca, and one for the server itself. Compared without case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoleNames {
    /// Everything of the caller's tenant.
    pub default: Vec<String>,
    /// Reading it.
    pub read_only: Vec<String>,
    /// Writing measurements and logs.
    pub agent: Vec<String>,
    /// Acting for another tenant, besides what other roles grant.
    pub delegate: Vec<String>,
    /// Administration of the server.
    pub admin: Vec<String>,
}

/// What a caller's roles grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Granted {
    default: bool,
    read_only: bool,
    agent: bool,
    delegate: bool,
    admin: bool,
}

impl RoleNames {
    pub(crate) fn granted(&self, roles: &[String]) -> Granted {
        let has = |group: &[String]| {
            group.iter().any(|name| roles.iter().any(|role| role.eq_ignore_ascii_case(name)))
        };
        Granted {
            default: has(&self.default),
            read_only: has(&self.read_only),
            agent: has(&self.agent),
            delegate: has(&self.delegate),
            admin: has(&self.admin),
        }
    }
}

impl Granted {
    pub(crate) fn allows(self, right: Right) -> bool {
        match right {
            Right::Open | Right::Known => true,
            Right::Read => self.default || self.read_only,
            Right::WriteMetrics => self.default || self.agent,
            Right::WriteLogs => self.default || self.agent || self.delegate,
            Right::Change => self.default,
            Right::Administer => self.admin,
        }
    }

    /// Whether the caller may act for another tenant.
    pub(crate) fn delegates(self) -> bool {
        self.delegate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix() {
        let one = |name: &str| vec![name.to_owned()];
        let names = RoleNames {
            default: vec!["monasca-user".into(), "domainuser".into()],
            read_only: one("reader"),
            agent: one("agent"),
            delegate: one("admin"),
            admin: one("operator"),
        };
        let check = |roles: &[&str], want: &str| {
            let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            let granted = names.granted(&roles);
            let rights = [
                (Right::Known, 'k'),
                (Right::Read, 'r'),
                (Right::WriteMetrics, 'm'),
                (Right::WriteLogs, 'l'),
                (Right::Change, 'c'),
                (Right::Administer, 'a'),
            ];
            let mut got: String = rights
                .into_iter()
                .filter(|(right, _)| granted.allows(*right))
                .map(|(_, letter)| letter)
                .collect();
            got.extend(granted.delegates().then_some('d'));
            assert_eq!(got, want, "{roles:?}");
        };
        check(&[], "k");
        check(&["nobody"], "k");
        check(&["monasca-user"], "krmlc");
        check(&["DomainUser"], "krmlc");
        check(&["reader"], "kr");
        check(&["agent"], "kml");
        check(&["admin"], "kld");
        check(&["operator"], "ka");
        check(&["reader", "agent", "admin"], "krmld");
    }
}
