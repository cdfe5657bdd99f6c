//! Every operation is described, with schemas that are there.

use std::collections::BTreeSet;

use super::*;
use crate::http::all_routes;

#[test]
fn every_operation_of_every_route_is_described() {
    let routes = all_routes();
    for route in &routes {
        for (method, _) in &route.rights {
            let told = route.told.iter().filter(|(of, _)| of == method).count();
            assert_eq!(told, 1, "{method} {} needs .told(&…) behind it", route.path);
        }
    }
    let document = document(routes.iter());
    for route in &routes {
        for (method, _) in &route.rights {
            let name = method.as_str().to_ascii_lowercase();
            assert!(document["paths"][route.path][name]["summary"].is_string(), "{}", route.path);
        }
    }
    assert!(document["paths"]["/openapi.json"]["get"].is_object());
    assert_eq!(document["paths"].as_object().unwrap().len(), routes.len());
}

#[test]
fn operations_have_names_of_their_own() {
    let document = document(all_routes().iter());
    let mut names = BTreeSet::new();
    for operation in document["paths"].as_object().unwrap().values().flat_map(values) {
        assert!(names.insert(operation["operationId"].to_string()), "{operation}");
    }
}

fn values(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_object().unwrap().values()
}

#[test]
fn schemas_that_are_named_are_there_and_the_others_are_not() {
    let document = document(all_routes().iter());
    let known: BTreeSet<&String> =
        document["components"]["schemas"].as_object().unwrap().keys().collect();
    assert!(known.len() > 40);
    let text = document.to_string();
    let used: BTreeSet<String> = text
        .split("#/components/schemas/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next().map(str::to_owned))
        .collect();
    assert_eq!(used.iter().collect::<BTreeSet<_>>(), known);
}

#[test]
fn parameters_say_what_they_are() {
    let document = document(all_routes().iter());
    let measurements = &document["paths"]["/v2.0/metrics/measurements"]["get"];
    let find = |name: &str| {
        let mut all = measurements["parameters"].as_array().unwrap().iter();
        all.find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!(find("name")["required"], true);
    assert_eq!(find("limit")["schema"], json!({"type": "integer", "minimum": 1}));
    let security = |path: &str| document["paths"][path]["get"]["security"].clone();
    assert_eq!(security("/v2.0/alarms")[0], json!({"token": []}));
    assert_eq!(security("/health"), json!([]));
    let one = &document["paths"]["/v2.0/alarms/{id}"]["get"]["parameters"];
    assert_eq!((&one[0]["name"], &one[0]["in"]), (&json!("id"), &json!("path")));
}

#[test]
fn the_page_needs_nobody_else() {
    for foreign in ["http://", "https://", "//cdn", "@import", "src="] {
        assert!(!PAGE.contains(foreign), "{foreign}");
    }
}
