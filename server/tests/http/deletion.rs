//! `/admin/deletions`: what is hidden, for whom, and how a deletion ends.

use serde_json::{Value, json};

use crate::server::{HOUR, MINUTE, Server, measured};

/// Two tenants with an hour of two metrics of two hosts, a sample a minute.
async fn filled() -> Server {
    let server = Server::start().await;
    for tenant in ["a", "b"] {
        for name in ["cpu.idle", "mem.free"] {
            for host in ["web1", "web2"] {
                server.write_as(tenant, measured(name, host, 0, MINUTE, 60)).await;
            }
        }
    }
    server
}

async fn counts(server: &Server) -> [usize; 4] {
    let mut found = [0; 4];
    let all = [("a", "cpu.idle"), ("a", "mem.free"), ("b", "cpu.idle"), ("b", "mem.free")];
    for (found, (tenant, name)) in found.iter_mut().zip(all) {
        *found = server.measurements(tenant, name).await.len();
    }
    found
}

#[tokio::test]
async fn what_is_selected_goes_and_nothing_else() {
    let check = async |wanted: Value, removes: u64, left: [usize; 4]| {
        let server = filled().await;
        let mut dry = wanted.clone();
        dry["dry_run"] = json!(true);
        let (status, plan) = server.send("POST", "/admin/deletions", dry).await;
        assert_eq!((status, &plan["samples"]), (200, &json!(removes)), "{wanted} {plan}");
        assert_eq!(server.get("/admin/deletions").await, (200, json!({"deletions": []})));
        let (status, begun) = server.send("POST", "/admin/deletions", wanted.clone()).await;
        assert_eq!(status, 202, "{wanted} {begun}");
        assert_eq!(begun["removes"]["samples"], json!(removes), "{wanted}");
        assert_eq!(counts(&server).await, left, "{wanted}");
        let (status, _) = server.ask("POST", "/admin/retention/apply").await;
        assert_eq!(status, 200);
        assert_eq!(counts(&server).await, left, "{wanted}");
        server.stop().await;
    };
    let all = json!({"tenant": "a", "all_series": true});
    check(all, 240, [0, 0, 120, 120]).await;
    check(json!({"tenant": "a", "metric": "cpu.idle"}), 120, [0, 120, 120, 120]).await;
    let one = json!({"tenant": "a", "dimensions": {"hostname": "web1"}});
    check(one, 120, [60, 60, 120, 120]).await;
    let both =
        json!({"tenant": "a", "dimensions": {"hostname": ["web1", "web2"], "service": null}});
    check(both, 240, [0, 0, 120, 120]).await;
    let pattern =
        json!({"tenant": "a", "metric": "mem.free", "dimensions": {"hostname": {"regex": "web."}}});
    check(pattern, 120, [120, 0, 120, 120]).await;
    let span = json!({"tenant": "a", "all_series": true,
        "start": "2026-11-20T09:00:00Z", "end": "2026-11-20T09:10:00Z"});
    check(span, 40, [100, 100, 120, 120]).await;
}

#[tokio::test]
async fn a_deletion_runs_its_course() {
    let server = filled().await;
    let wanted = json!({"tenant": "a", "metric": "cpu.idle", "by": "carol"});
    let (status, begun) = server.send("POST", "/admin/deletions", wanted.clone()).await;
    assert_eq!((status, &begun["state"]), (202, &json!("hidden")), "{begun}");
    assert_eq!((&begun["id"], &begun["by"]), (&json!(1), &json!("carol")));
    assert_eq!((&begun["tenant"], &begun["request"]), (&json!("a"), &wanted));
    assert_eq!(begun["requested"], json!("2026-11-20T09:24:00.000Z"));
    assert_eq!(begun["finished"], Value::Null);
    // What is written afterwards is seen.
    server.write_as("a", measured("cpu.idle", "web1", 0, MINUTE, 2)).await;
    server.wait_until(HOUR);
    assert_eq!(server.ask("POST", "/admin/retention/apply").await.0, 200);
    let (status, ended) = server.get("/admin/deletions/1").await;
    assert_eq!((status, &ended["state"]), (200, &json!("done")), "{ended}");
    assert_eq!(ended["finished"], json!("2026-11-20T10:24:00.000Z"));
    assert_eq!(counts(&server).await, [2, 120, 120, 120]);
    // It can no longer be cancelled, and the record outlives the server.
    let (status, refused) = server.delete("/admin/deletions/1").await;
    assert_eq!(status, 409, "{refused}");
    assert_eq!(refused["description"], json!("deletion 1 has ended"));
    let server = server.restart().await;
    assert_eq!(server.get("/admin/deletions").await, (200, json!({"deletions": [ended]})));
    assert_eq!(counts(&server).await, [2, 120, 120, 120]);
    server.stop().await;
}

#[tokio::test]
async fn a_cancelled_deletion_goes_on_hiding() {
    let server = filled().await;
    let wanted = json!({"tenant": "a", "metric": "cpu.idle"});
    let (status, begun) = server.send("POST", "/admin/deletions", wanted).await;
    // Nobody has said who asks, and the record says that.
    assert_eq!((status, &begun["by"]), (202, &json!("not told")), "{begun}");
    let (status, cancelled) = server.delete("/admin/deletions/1").await;
    assert_eq!((status, &cancelled["state"]), (200, &json!("cancelled")), "{cancelled}");
    let (status, twice) = server.delete("/admin/deletions/1").await;
    assert_eq!(status, 409, "{twice}");
    assert_eq!(counts(&server).await, [0, 120, 120, 120]);
    let server = server.restart().await;
    assert_eq!(counts(&server).await, [0, 120, 120, 120]);
    server.stop().await;
}
