use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn scripts(name: &str) -> Option<String> {
    match name {
        "start" => Some("node server.js --port 3001".to_owned()),
        "dev" => Some("NODE_ENV=dev next dev".to_owned()),
        _ => None,
    }
}

fn examined(line: &str, workers: u32) -> Result<Form, LaunchError> {
    examine(&words(line), workers, scripts)
}

#[test]
fn a_script_is_fit_wherever_nodes_options_leave_it() {
    let lines = [
        "node app.js",
        "node app",
        "node .",
        "node -",
        "node -- app.js",
        "node --inspect app.js -e ignored",
        "node -r ./hook.js app.js",
        "node --import tsx --env-file .env app.ts",
        "node --require=./hook.js app.js --watch",
        "/usr/local/bin/node --max-old-space-size=100 app.js",
        "nodejs app.js",
        "./server -e x",
        "sh -c node",
        "bun app.js",
    ];
    for line in lines {
        assert_eq!(examined(line, 4), Ok(Form::Fit), "{line}");
    }
}

#[test]
fn node_without_a_script_file_is_refused_even_as_one_worker() {
    for line in
        ["node -e 1", "node --eval 1", "node --eval=1", "node -p 1", "node -i", "/usr/bin/node --print 1"]
    {
        assert!(matches!(examined(line, 1), Err(LaunchError::Inline(_))), "{line}");
    }
    for line in ["node", "node --inspect", "node -r ./hook.js", "node --"] {
        assert_eq!(examined(line, 1), Err(LaunchError::NoScript), "{line}");
    }
}

#[test]
fn a_launcher_is_refused_and_the_script_behind_it_named() {
    let cases = [
        ("npm start", "clustr run -- node server.js --port 3001"),
        ("npm --silent run start", "clustr run -- node server.js --port 3001"),
        ("yarn start", "clustr run -- node server.js --port 3001"),
        ("pnpm run start", "clustr run -- node server.js --port 3001"),
        ("npm run dev", "clustr run -n 1 -- npm run dev"),
        ("npm run absent", "clustr run -- node app.js"),
        ("npx tsx app.ts", "clustr run -- node --import tsx app.ts"),
        ("tsx app.ts --x", "clustr run -- node --import tsx app.ts --x"),
        ("ts-node app.ts", "clustr run -- node -r ts-node/register app.ts"),
        ("nodemon app.js", "clustr run -- node app.js"),
        ("node --watch app.js x", "clustr run -- node app.js x"),
        ("node --run start", "clustr run -- node server.js --port 3001"),
        ("npx", "clustr run -- node app.js"),
    ];
    for (line, typed) in cases {
        let error = examined(line, 2).unwrap_err();
        assert!(matches!(error, LaunchError::Launcher(..)), "{line}");
        assert!(error.hint().ends_with(typed), "{line}: {}", error.hint());
    }
}

#[test]
fn a_launcher_may_run_alone_and_says_what_that_costs() {
    assert!(matches!(examined("npm start", 1), Ok(Form::Odd(..))));
}

#[test]
fn a_foreign_script_is_shown() {
    assert!(examined("npm run dev", 2).unwrap_err().detail().ends_with("runs: NODE_ENV=dev next dev"));
}

#[test]
fn deno_is_refused_only_where_it_would_share() {
    assert_eq!(examined("deno run -A main.ts", 2), Err(LaunchError::Deno));
    assert_eq!(examined("deno run -A main.ts", 1), Ok(Form::Fit));
}
