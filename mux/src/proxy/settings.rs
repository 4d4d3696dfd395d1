//! Which proxy leads where.

use super::bypass::Bypass;
use super::{Proxy, SettingsError, Target};

/// Proxy or none, for each target: what a user's environment says.
#[derive(Clone, Debug, Default)]
pub struct ProxySettings {
    proxy: Option<Proxy>,
    bypass: Bypass,
}

impl ProxySettings {
    /// No proxy.
    pub fn none() -> Self {
        Self::default()
    }

    /// This proxy for all targets.
    pub fn through(proxy: Proxy) -> Self {
        Self { proxy: Some(proxy), bypass: Bypass::default() }
    }

    /// But not for these: names with all below them, addresses, networks, each with a port or without, with commas or spaces
    /// between; `*` for all.
    #[must_use]
    pub fn except(self, list: &str) -> Self {
        Self { bypass: Bypass::parse(list), ..self }
    }

    /// What the environment says, by curl's rules for https, which all carriers on TCP look like: the first that isn't
    /// empty of `https_proxy`, `HTTPS_PROXY`, `all_proxy`, `ALL_PROXY`; and `no_proxy` or else `NO_PROXY`.
    ///
    /// `variable` gives the value of a variable, as `|name| std::env::var(name).ok()` does.
    ///
    /// # Errors
    /// [`SettingsError`] if there is an address and it is no HTTP proxy's: to go without it may be what nobody wants.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let first = |names: &[&'static str]| {
            let mut set = names.iter().filter_map(|name| Some((*name, variable(name)?)));
            set.find(|(_, value)| !value.trim().is_empty())
        };
        let Some((variable, address)) = first(&PROXY) else {
            return Ok(Self::none());
        };
        let proxy = address.parse().map_err(|source| SettingsError { variable, source })?;
        let list = first(&EXCEPT).map(|(_, list)| list).unwrap_or_default();
        Ok(Self::through(proxy).except(&list))
    }

    /// The proxy through which `target` is reached, if any.
    pub fn proxy_for(&self, target: &Target) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.bypass.holds(target))
    }
}

/// Lower case goes first.
const PROXY: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const EXCEPT: [&str; 2] = ["no_proxy", "NO_PROXY"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::ProxyUrlError;

    type Variables = [(&'static str, &'static str)];

    #[test]
    fn variables_have_curls_order() {
        let rows: [(&Variables, Option<&str>); 10] = [
            (&[], None),
            (&[("http_proxy", "http"), ("HTTP_PROXY", "http")], None),
            (&[("ALL_PROXY", "all")], Some("all")),
            (&[("ALL_PROXY", "up"), ("all_proxy", "low")], Some("low")),
            (&[("all_proxy", "all"), ("HTTPS_PROXY", "https")], Some("https")),
            (&[("HTTPS_PROXY", "up"), ("https_proxy", "low")], Some("low")),
            (&[("https_proxy", ""), ("HTTPS_PROXY", "up")], Some("up")),
            (&[("https_proxy", "low"), ("NO_PROXY", "example")], None),
            (&[("https_proxy", "low"), ("no_proxy", "other"), ("NO_PROXY", "*")], Some("low")),
            (&[("https_proxy", "low"), ("no_proxy", ""), ("NO_PROXY", "*")], None),
        ];
        let target = Target::new("gateway.example", 443).unwrap();
        for (variables, expected) in rows {
            let find = |name: &str| {
                let found = variables.iter().find(|(set, _)| *set == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let settings = ProxySettings::from_variables(find).unwrap();
            assert_eq!(settings.proxy_for(&target).map(Proxy::host), expected, "{variables:?}");
        }
    }

    #[test]
    fn a_proxy_that_is_none_is_an_error_that_names_the_variable_only() {
        let error = ProxySettings::from_variables(|name| {
            (name == "all_proxy").then(|| "socks5://me:canary@proxy.example".to_owned())
        })
        .unwrap_err();
        assert_eq!((error.variable, error.source), ("all_proxy", ProxyUrlError::UnsupportedScheme));
        assert_eq!(error.to_string(), "all_proxy: only http:// proxies are supported");
    }
}
