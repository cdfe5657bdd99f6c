//! `/admin/retention`: policies, what they would remove, and giving space back.

use serde_json::{Value, json};

use crate::server::{Answer, DAY, HOUR, Server, exchange, measured};

fn policy(tenant: Option<&str>, metric: &str, keep: &str) -> Value {
    json!({"tenant": tenant, "metric": metric, "keep": keep})
}

/// Two tenants with ten days of `cpu.idle`, a sample every six hours, and as much of `mem.free`.
async fn filled() -> Server {
    let server = Server::start().await;
    for tenant in ["a", "b"] {
        for name in ["cpu.idle", "mem.free"] {
            server.write_as(tenant, measured(name, "h1", 0, 6 * HOUR, 40)).await;
        }
    }
    server
}

#[tokio::test]
async fn policies_are_replaced_shown_and_explained() {
    let server = Server::start().await;
    assert_eq!(server.get("/admin/retention").await, (200, json!({"policies": []})));
    let rollups = json!([{"step": "1h", "keep": "1y"}, {"step": "5m", "keep": "forever"}]);
    let rolled = json!({"metric": "cpu.*", "keep": "36h", "rollups": rollups});
    let body = json!({"policies": [
        policy(None, "*", "2w"), rolled, policy(Some("a"), "*", "forever"), policy(None, "cpu.idle", "1d"),
    ]});
    let (status, set) = server.send("PUT", "/admin/retention", body).await;
    assert_eq!(status, 200, "{set}");
    let sorted = json!([{"step": "5m", "keep": "forever"}, {"step": "1h", "keep": "365d"}]);
    let want = json!({"policies": [
        policy(Some("a"), "*", "forever"),
        policy(None, "cpu.idle", "1d"),
        {"tenant": null, "metric": "cpu.*", "keep": "36h", "rollups": sorted},
        policy(None, "*", "14d"),
    ]});
    assert_eq!(set, want);
    assert_eq!(server.get("/admin/retention").await, (200, want.clone()));

    let check = async |target: &str, keep: &str, at: usize, overruled: usize| {
        let (status, why) = server.get(&format!("/admin/retention/explain?{target}")).await;
        assert_eq!((status, &why["keep"]), (200, &json!(keep)), "{why}");
        assert_eq!(why["policy"], want["policies"][at], "{target}");
        assert_eq!(why["overruled"].as_array().unwrap().len(), overruled, "{why}");
    };
    check("metric=cpu.idle", "1d", 1, 2).await;
    check("metric=cpu.user", "36h", 2, 1).await;
    check("metric=mem&tenant=b", "14d", 3, 0).await;
    check("metric=cpu.idle&tenant=a", "forever", 0, 3).await;
    // They outlive the server, and what was shown can be sent back.
    let server = server.restart().await;
    assert_eq!(server.get("/admin/retention").await, (200, want.clone()));
    let (_, plan) = server.send("POST", "/admin/retention/plan", want).await;
    assert_eq!(
        plan,
        json!({"metrics": [], "series": 0, "samples": 0, "bytes": 0, "rollup_days": 0})
    );
    let (_, none) = server.send("PUT", "/admin/retention", json!({"policies": []})).await;
    assert_eq!(none, json!({"policies": []}));
    let (_, why) = server.get("/admin/retention/explain?metric=m").await;
    assert_eq!((&why["keep"], &why["policy"]), (&json!("forever"), &Value::Null));
    server.stop().await;
}

#[tokio::test]
async fn what_is_planned_goes_and_nothing_else() {
    let server = filled().await;
    let body =
        json!({"policies": [policy(Some("a"), "cpu.*", "2d"), policy(None, "cpu.*", "20d")]});
    let (status, plan) = server.send("POST", "/admin/retention/plan", body.clone()).await;
    assert_eq!(status, 200, "{plan}");
    // Samples at the floor itself stay: 9 of the 40.
    assert_eq!((&plan["series"], &plan["samples"]), (&json!(1), &json!(31)), "{plan}");
    let loss = &plan["metrics"][0];
    assert_eq!((&loss["tenant"], &loss["metric"]), (&json!("a"), &json!("cpu.idle")));
    assert_eq!((&loss["keep"], &loss["policy"]), (&json!("2d"), &body["policies"][0]));
    assert_eq!(server.measurements("a", "cpu.idle").await.len(), 40, "a plan changes nothing");

    let (status, _) = server.send("PUT", "/admin/retention", body).await;
    assert_eq!(status, 200);
    let left = async |server: &Server| {
        let mut left = Vec::new();
        for (tenant, name) in
            [("a", "cpu.idle"), ("a", "mem.free"), ("b", "cpu.idle"), ("b", "mem.free")]
        {
            left.push(server.measurements(tenant, name).await.len());
        }
        left
    };
    assert_eq!(left(&server).await, [9, 40, 40, 40], "at once");
    // What has expired is given back also where it has never left the head.
    assert_eq!(server.figure("storage_head_rows").await, Some(160.0));
    let (status, done) = server.ask("POST", "/admin/retention/apply").await;
    assert_eq!((status, &done["flushed"]), (200, &json!(true)), "{done}");
    assert_eq!(server.figure("storage_head_rows").await, Some(0.0));
    assert_eq!(server.figure("storage_segment_samples").await, Some(129.0));
    assert_eq!(left(&server).await, [9, 40, 40, 40]);
    // What expires later is removed from files.
    server.wait_until(DAY - HOUR);
    assert_eq!(left(&server).await, [5, 40, 40, 40]);
    let (_, done) = server.ask("POST", "/admin/retention/apply").await;
    assert!(done["segments_rewritten"].as_u64().unwrap() > 0, "{done}");
    // Of a day of which a part has expired, the block goes when all of it has.
    assert_eq!(server.figure("storage_segment_samples").await, Some(126.0));
    // A longer policy brings nothing back, also not after a restart.
    let (status, _) = server.send("PUT", "/admin/retention", json!({"policies": []})).await;
    assert_eq!(status, 200);
    let server = server.restart().await;
    assert_eq!(left(&server).await, [5, 40, 40, 40]);
    server.stop().await;
}

#[tokio::test]
async fn series_without_samples_leave_the_index() {
    let server = Server::start().await;
    server.write_as("a", measured("old", "h1", 5 * DAY, HOUR, 3)).await;
    server.write_as("a", measured("new", "h1", 0, HOUR, 3)).await;
    let body = json!({"policies": [policy(None, "*", "2d")]});
    assert_eq!(server.send("PUT", "/admin/retention", body).await.0, 200);
    // The sweeper may have been quicker.
    assert_eq!(server.ask("POST", "/admin/retention/apply").await.0, 200);
    assert_eq!(server.figure("storage_series").await, Some(1.0));
    server.stop().await;
}

#[tokio::test]
async fn a_clock_in_doubt_is_told_of() {
    let server = filled().await;
    assert_eq!(server.get("/ready").await, (200, json!({"ready": true, "reasons": []})));
    assert_eq!(server.figure("storage_clock_doubted").await, Some(0.0));
    server.wait_until(3 * DAY);
    let (status, ready) = server.get("/ready").await;
    assert_eq!((status, &ready["ready"], &ready["reasons"]), (200, &json!(true), &json!([])));
    let warning = ready["warnings"][0].as_str().unwrap();
    assert!(warning.contains("2026-11-23T09:24:00"), "{warning}");
    assert!(warning.contains("2026-11-20T09:24:00"), "{warning}");
    assert_eq!(server.figure("storage_clock_doubted").await, Some(1.0));
    // An operator's word is enough.
    let (status, _) = server.ask("POST", "/admin/retention/apply").await;
    assert_eq!(status, 200);
    assert_eq!(server.get("/ready").await, (200, json!({"ready": true, "reasons": []})));
    assert_eq!(server.figure("storage_clock_doubted").await, Some(0.0));
    server.stop().await;
}

#[tokio::test]
async fn a_policy_decides_what_may_still_be_written() {
    let server = Server::start().await;
    let body = json!({"policies": [policy(Some("a"), "*", "2d")]});
    assert_eq!(server.send("PUT", "/admin/retention", body).await.0, 200);
    let old = measured("m", "h1", 3 * DAY, HOUR, 1).to_string();
    let address = server.running.address();
    let write = async |tenant: &str| -> Answer {
        let headers = [("content-type", "application/json"), ("x-project-id", tenant)];
        exchange(address, "POST", "/v2.0/metrics", &headers, &old).await
    };
    let refused = write("a").await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    let text = refused.body["description"].as_str().unwrap();
    assert!(text.contains("the oldest instant is 1794993840000"), "{text}");
    assert_eq!(write("b").await.status, 204);
    server.stop().await;
}
