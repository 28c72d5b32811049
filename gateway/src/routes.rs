//! The table of routes. Read this first: every path the broker answers, the
//! chain it passes and the handler behind it stand here, and `GET /openapi.json`
//! is made from the same rows.

use std::sync::Arc;

use agentkeys_filters::{Chain, Handler, MintKind};
use http::Method;

/// One row.
#[derive(Clone)]
pub struct Route {
    /// The method. `HEAD` is answered where `GET` is.
    pub method: Method,
    /// The path; one segment in braces stands for one segment of any text.
    pub path: &'static str,
    /// The filters before and after the handler.
    pub chain: Chain,
    /// What answers.
    pub handler: Arc<dyn Handler>,
    /// What it mints, if it mints.
    pub mint: Option<MintKind>,
    /// The largest body, where it is not `limits.body_bytes`.
    pub body_cap: Option<usize>,
}

impl Route {
    /// A row that mints nothing.
    pub fn new(method: Method, path: &'static str, chain: &Chain, handler: impl Handler + 'static) -> Self {
        Self { method, path, chain: chain.clone(), handler: Arc::new(handler), mint: None, body_cap: None }
    }

    /// Marks the row as one that mints.
    pub fn mints(mut self, kind: MintKind) -> Self {
        self.mint = Some(kind);
        self
    }

    /// Takes bodies up to this size, whatever `limits.body_bytes` says.
    pub fn body_cap(mut self, bytes: usize) -> Self {
        self.body_cap = Some(bytes);
        self
    }

    fn matches<'p>(&self, path: &'p str) -> Option<Option<&'p str>> {
        let Some(open) = self.path.find('{') else { return (self.path == path).then_some(None) };
        let close = self.path.find('}')?;
        let rest = path.strip_prefix(&self.path[..open])?.strip_suffix(&self.path[close + 1..])?;
        (!rest.is_empty() && !rest.contains('/')).then_some(Some(rest))
    }
}

/// What a method and a path lead to.
pub enum Found<'r> {
    /// A row, and the text in place of its braces.
    Route {
        /// The row.
        route: &'r Route,
        /// The text, as it stands in the path.
        resource: Option<String>,
    },
    /// The path is known, the method is not.
    OtherMethods {
        /// The path's pattern.
        path: &'static str,
        /// What it does answer, for `Allow`.
        allow: String,
    },
    /// No such path.
    Nothing,
}

/// The rows of one listener.
#[derive(Clone, Default)]
pub struct Router {
    routes: Vec<Route>,
}

impl Router {
    /// A router of these rows. The first that matches counts.
    pub fn new(routes: Vec<Route>) -> Self {
        Self { routes }
    }

    /// The rows.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Looks up a request.
    pub fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let mut known: Option<&'static str> = None;
        let mut allow: Vec<&str> = Vec::new();
        for route in &self.routes {
            let Some(resource) = route.matches(path) else { continue };
            if route.method == *method {
                return Found::Route { route, resource: resource.map(str::to_owned) };
            }
            known = known.or(Some(route.path));
            allow.push(route.method.as_str());
            if route.method == Method::GET {
                allow.push("HEAD");
            }
        }
        match known {
            Some(path) => Found::OtherMethods { path, allow: allow.join(", ") },
            None => Found::Nothing,
        }
    }
}
