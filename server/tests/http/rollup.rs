//! Rollups: asked for by a policy, made when a day is over, and what statistics say when the samples
//! have gone.

use serde_json::{Value, json};

use crate::server::{DAY, HOUR, MINUTE, Server, measured};

/// Statistics of a metric of a tenant, and the resolution they come in, if it is coarser than asked.
async fn statistics(server: &Server, tenant: &str, period: u32) -> (Value, Option<String>) {
    let target = format!(
        "/v2.0/metrics/statistics?name=cpu.idle&statistics=avg,min,max,sum,count&period={period}\
         &start_time=2026-11-18T00:00:00Z&end_time=2026-11-19T00:00:00Z"
    );
    let answer = server.get_as(tenant, &target).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let resolution = answer.header("x-moneta-resolution").map(str::to_owned);
    (answer.body["elements"][0]["statistics"].clone(), resolution)
}

async fn apply(server: &Server) -> Value {
    let (status, done) = server.ask("POST", "/admin/retention/apply").await;
    assert_eq!(status, 200, "{done}");
    done
}

#[tokio::test]
async fn statistics_outlive_their_samples() {
    let server = Server::start().await;
    // Two hours on the 18th, a sample a minute.
    for tenant in ["a", "b"] {
        server.write_as(tenant, measured("cpu.idle", "h1", 2 * DAY, MINUTE, 120)).await;
    }
    let rollups = json!([{"step": "5m", "keep": "90d"}, {"step": "1h", "keep": "2y"}]);
    let policy = json!({"tenant": "a", "metric": "cpu.*", "keep": "5d", "rollups": rollups});
    let (status, set) = server.send("PUT", "/admin/retention", json!({"policies": [policy]})).await;
    assert_eq!(status, 200, "{set}");
    let mut before = Vec::new();
    for period in [300, 3600, 7200] {
        let (found, resolution) = statistics(&server, "a", period).await;
        assert_eq!(resolution, None);
        before.push(found);
    }
    assert_eq!(before[0].as_array().unwrap().len(), 24);

    // The day is over, but more of it may be on its way.
    assert_eq!(apply(&server).await["rollups_made"], json!(0));
    server.wait_until(31 * MINUTE);
    assert_eq!(apply(&server).await["rollups_made"], json!(2));
    assert_eq!(apply(&server).await["rollups_made"], json!(0));
    for step in ["5m", "1h"] {
        let name = format!("storage_rollup_segments{{step=\"{step}\"}}");
        assert_eq!(server.figure(&name).await, Some(1.0), "{name}");
        let name = format!("storage_rollup_bytes{{step=\"{step}\"}}");
        assert!(server.figure(&name).await.unwrap() > 0.0, "{name}");
    }

    let untouched = server.measurements("b", "cpu.idle").await;
    server.wait_until(4 * DAY);
    let done = apply(&server).await;
    assert!(done["segments_rewritten"].as_u64().unwrap() > 0, "{done}");
    let server = server.restart().await;
    assert!(server.measurements("a", "cpu.idle").await.is_empty());
    assert_eq!(server.measurements("b", "cpu.idle").await, untouched);
    for (period, want) in [300, 3600, 7200].into_iter().zip(&before) {
        let (found, resolution) = statistics(&server, "a", period).await;
        assert_eq!((&found, resolution), (want, None), "{period}");
    }
    // For a shorter period each step counts where it begins, and the answer says so.
    let (found, resolution) = statistics(&server, "a", 60).await;
    assert_eq!(found.as_array().unwrap().len(), 24);
    assert_eq!(resolution.as_deref(), Some("300"));
    assert_eq!(statistics(&server, "b", 60).await.0.as_array().unwrap().len(), 120);

    // What a change would remove of rollups is told beforehand, unless samples are left to make them of.
    let lost = async |rollups: Value, want: Value| {
        let policy = json!({"tenant": "a", "metric": "cpu.*", "keep": "5d", "rollups": rollups});
        let body = json!({"policies": [policy]});
        let (status, plan) = server.send("POST", "/admin/retention/plan", body).await;
        assert_eq!((status, &plan["samples"]), (200, &json!(0)), "{plan}");
        assert_eq!(plan["rollup_days"], want, "{plan}");
        let metrics = plan["metrics"].as_array().unwrap();
        let named: Vec<&Value> = metrics.iter().map(|metric| &metric["tenant"]).collect();
        assert_eq!(named, if want == json!(0) { vec![] } else { vec!["a"] });
    };
    lost(json!([{"step": "5m", "keep": "90d"}, {"step": "1h", "keep": "forever"}]), json!(0)).await;
    lost(json!([{"step": "1h", "keep": "2y"}]), json!(1)).await;
    lost(json!([{"step": "5m", "keep": "5d"}, {"step": "1h", "keep": "2y"}]), json!(1)).await;
    lost(json!([]), json!(2)).await;

    // A rollup goes when its time is over, and the coarser one answers.
    server.wait_until(91 * DAY);
    apply(&server).await;
    assert_eq!(server.figure("storage_rollup_segments{step=\"5m\"}").await, Some(0.0));
    assert_eq!(server.figure("storage_rollup_segments{step=\"1h\"}").await, Some(1.0));
    let (found, resolution) = statistics(&server, "a", 300).await;
    assert_eq!((found.as_array().unwrap().len(), resolution.as_deref()), (3, Some("3600")));
    let (found, resolution) = statistics(&server, "a", 3600).await;
    assert_eq!((&found, resolution), (&before[1], None));
    server.stop().await;
}

#[tokio::test]
async fn a_rollup_is_made_again_when_its_day_changes() {
    let server = Server::start().await;
    server.write_as("a", measured("cpu.idle", "h1", 2 * DAY, MINUTE, 60)).await;
    let rollups = json!([{"step": "1h", "keep": "forever"}]);
    let policy = json!({"metric": "*", "keep": "5d", "rollups": rollups});
    let set = json!({"policies": [policy]});
    assert_eq!(server.send("PUT", "/admin/retention", set).await.0, 200);
    apply(&server).await;
    server.wait_until(HOUR);
    assert_eq!(apply(&server).await["rollups_made"], json!(1));
    // A late hour, and a deletion of the first half hour.
    server.write_as("a", measured("cpu.idle", "h1", 2 * DAY + 2 * HOUR, MINUTE, 60)).await;
    let (status, deleted) = server
        .send(
            "POST",
            "/admin/deletions",
            json!({"tenant": "a", "metric": "cpu.idle", "end": "2026-11-18T07:00:00Z"}),
        )
        .await;
    assert_eq!(status, 202, "{deleted}");
    let (before, _) = statistics(&server, "a", 3600).await;
    apply(&server).await;
    server.wait_until(2 * HOUR);
    assert_eq!(apply(&server).await["rollups_made"], json!(1));
    server.wait_until(4 * DAY);
    apply(&server).await;
    assert!(server.measurements("a", "cpu.idle").await.is_empty());
    assert_eq!(statistics(&server, "a", 3600).await.0, before);
    server.stop().await;
}
