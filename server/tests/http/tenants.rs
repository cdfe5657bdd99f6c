//! `/admin/tenants`, and where a tenant's series come from.

use serde_json::{Value, json};

use crate::server::{MINUTE, Server, exchange, measured};

async fn filled() -> Server {
    let server = Server::start().await;
    for (tenant, hosts) in [("a", 3), ("b", 2)] {
        for host in 0..hosts {
            let body = measured("cpu.idle", &format!("h{host}"), 0, MINUTE, 4);
            server.write_as(tenant, body).await;
        }
        server.write_as(tenant, measured("mem.free", "h0", 0, MINUTE, 4)).await;
        let address = server.running.address();
        let headers = [("content-type", "application/json"), ("x-project-id", tenant)];
        let body = json!({"name": "hot", "expression": "max(cpu.idle) > 90"}).to_string();
        let path = "/v2.0/alarm-definitions";
        assert_eq!(exchange(address, "POST", path, &headers, &body).await.status, 201);
        let body = json!({"name": "n", "type": "webhook", "address": "http://127.0.0.1:9/"});
        let path = "/v2.0/notification-methods";
        assert_eq!(exchange(address, "POST", path, &headers, &body.to_string()).await.status, 201);
    }
    server
}

/// Everything that a tenant can see of itself.
async fn seen(server: &Server, tenant: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for path in [
        "/v2.0/metrics",
        "/v2.0/metrics/names",
        "/v2.0/metrics/dimensions/names/values?dimension_name=hostname",
        "/v2.0/metrics/measurements?name=cpu.idle&start_time=2026-01-01&group_by=hostname",
        "/v2.0/alarm-definitions",
        "/v2.0/notification-methods",
    ] {
        let answer = server.get_as(tenant, path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        // Links name the port, which is another one after a restart.
        let port = format!(":{}/", server.running.address().port());
        let text = answer.body["elements"].to_string().replace(&port, "/");
        all.push(text.parse().unwrap());
    }
    all
}

#[tokio::test]
async fn a_tenant_is_removed_with_all_it_has_and_no_other_is_touched() {
    let server = filled().await;
    let both = json!({"tenants": [{"name": "a", "series": 4}, {"name": "b", "series": 3}]});
    assert_eq!(server.get("/admin/tenants").await, (200, both));
    let (status, contents) = server.get("/admin/tenants/a").await;
    assert_eq!(status, 200);
    let want =
        [("series", 4), ("samples", 16), ("alarm_definitions", 1), ("notification_methods", 1)];
    for (field, want) in want {
        assert_eq!(contents[field], json!(want), "{contents}");
    }
    let others = seen(&server, "b").await;

    // Without its name once more, or with another one, nothing happens.
    for target in ["/admin/tenants/a", "/admin/tenants/a?confirm=b", "/admin/tenants/a?confirm="] {
        let (status, refused) = server.delete(target).await;
        assert_eq!(status, 422, "{target}: {refused}");
        let text = refused["description"].as_str().unwrap();
        assert!(text.contains("?confirm=a"), "{text}");
    }
    assert_eq!(server.get("/admin/tenants/a").await, (200, contents));

    let (status, removed) = server.delete("/admin/tenants/a?confirm=a&by=carol").await;
    assert_eq!(status, 200, "{removed}");
    assert_eq!((&removed["tenant"], &removed["samples"]), (&json!("a"), &json!(16)));
    let check = async |server: &Server| {
        let nothing = vec![json!([]); others.len()];
        assert_eq!(seen(server, "a").await, nothing);
        assert_eq!(seen(server, "b").await, others);
        assert_eq!(server.get("/admin/tenants/a").await.0, 404);
        let (status, twice) = server.delete("/admin/tenants/a?confirm=a").await;
        assert_eq!((status, &twice["description"]), (404, &json!("no tenant is called a")));
        let rest = json!({"tenants": [{"name": "b", "series": 3}]});
        assert_eq!(server.get("/admin/tenants").await, (200, rest));
    };
    check(&server).await;
    assert_eq!(server.ask("POST", "/admin/retention/apply").await.0, 200);
    check(&server).await;
    let server = server.restart().await;
    check(&server).await;

    // The record says who it was.
    let (_, record) = server.get(&format!("/admin/deletions/{}", removed["deletion"])).await;
    assert_eq!((&record["by"], &record["tenant"]), (&json!("carol"), &json!("a")), "{record}");
    assert_eq!(
        (&record["state"], &record["request"]),
        (&json!("done"), &json!("the whole tenant"))
    );
    // A tenant of the same name is a new one.
    server.write_as("a", measured("disk", "h9", 0, MINUTE, 1)).await;
    assert_eq!(server.get("/admin/tenants/a").await.1["samples"], json!(1));
    server.stop().await;
}

#[tokio::test]
async fn cardinality_is_of_one_tenant() {
    let server = filled().await;
    let (status, report) = server.get("/admin/cardinality?tenant=a&top=1").await;
    assert_eq!((status, &report["tenant"], &report["series"]), (200, &json!("a"), &json!(4)));
    assert_eq!(report["by_metric"], json!([{"name": "cpu.idle", "series": 3}]));
    assert_eq!((&report["metric_names"], &report["dimension_names"]), (&json!(2), &json!(2)));
    // The caller's own, if none is named.
    let own = server.get_as("b", "/admin/cardinality").await;
    assert_eq!(
        (own.status, &own.body["tenant"], &own.body["series"]),
        (200, &json!("b"), &json!(3))
    );
    let hours = own.body["new_per_hour"].as_array().unwrap();
    let new: u64 = hours.iter().map(|hour| hour["series"].as_u64().unwrap()).sum();
    assert_eq!((hours.len(), new), (24, 3));
    server.stop().await;
}
