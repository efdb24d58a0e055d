//! A real Chromium without a window, told what to do over the Chrome DevTools Protocol on a pair of pipes.
//!
//! Each has a profile of its own, thrown away with it, and no network: a page that wants any is caught by
//! what it asked for.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::tools::{command, run};

/// A page in a browser.
pub struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    next: u64,
    session: Option<String>,
    /// Addresses that were asked for.
    pub requests: Vec<String>,
    /// Exceptions, and what the console was told of errors and policy.
    pub complaints: Vec<String>,
    _folder: tempfile::TempDir,
}

/// What `page` asks a screen for.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// CSS pixels.
    pub width: u32,
    /// CSS pixels.
    pub height: u32,
    /// Whether the system prefers dark.
    pub dark: bool,
}

impl Browser {
    /// Starts a browser and opens a file in it.
    pub fn open(page: &Path, screen: Screen) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("unbloat-chromium-").tempdir_in("/var/tmp")?;
        let pipes = ["in", "out"].map(|name| folder.path().join(name));
        run(command("mkfifo").args(&pipes))?;
        let mut shell = command("bash");
        shell.args(["-c", r#"exec "$0" "$@" 3<"$PIPE_IN" 4>"$PIPE_OUT""#, "chromium"]);
        shell.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        shell.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        // Whatever is asked for by name is nowhere.
        shell.args(["--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe", "--hide-scrollbars"]);
        shell.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        shell.env("PIPE_IN", &pipes[0]).env("PIPE_OUT", &pipes[1]);
        let child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let to = OpenOptions::new().write(true).open(&pipes[0])?;
        let from = BufReader::new(File::open(&pipes[1])?);
        let mut browser = Self {
            child,
            to,
            from,
            next: 0,
            session: None,
            requests: Vec::new(),
            complaints: Vec::new(),
            _folder: folder,
        };
        browser.go_to(page, screen)?;
        Ok(browser)
    }

    fn go_to(&mut self, page: &Path, screen: Screen) -> Result<()> {
        let target = self.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", &attach)?;
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Network", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), &json!({}))?;
        }
        self.resize(screen)?;
        self.call("Page.navigate", &json!({"url": format!("file://{}", page.display())}))?;
        self.wait_until("document.documentElement?.dataset.ready === 'true'")
    }

    /// Makes the screen another one.
    pub fn resize(&mut self, screen: Screen) -> Result<()> {
        let Screen { width, height, dark } = screen;
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", &metrics)?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &media).map(drop)
    }

    /// The value of an expression in the page.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", &parameters)?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            bail!("{expression}: {thrown}");
        }
        Ok(answer["result"]["value"].clone())
    }

    /// Waits for an expression to become true.
    pub fn wait_until(&mut self, expression: &str) -> Result<()> {
        for _ in 0..200 {
            if self.evaluate(expression)? == true {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        bail!("{expression} did not become true; {:?}", self.complaints)
    }

    /// Presses and releases a key, by its DOM name.
    pub fn key(&mut self, key: &str) -> Result<()> {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            " " => 32,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let down = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code, "text": text});
        self.call("Input.dispatchKeyEvent", &down)?;
        self.call(
            "Input.dispatchKeyEvent",
            &json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}),
        )
        .map(drop)
    }

    /// A picture of the whole page, as PNG.
    pub fn picture(&mut self) -> Result<Vec<u8>> {
        let parameters = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.call("Page.captureScreenshot", &parameters)?;
        Ok(STANDARD.decode(answer["data"].as_str().context("a picture")?)?)
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(message.to_string().as_bytes())?;
        self.to.write_all(&[0])?;
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes)?;
            if bytes.pop().is_none() {
                bail!("the browser ended during {method}");
            }
            let answer: Value = serde_json::from_slice(&bytes)?;
            if answer["id"] == self.next {
                if let Some(error) = answer.get("error") {
                    bail!("{method}: {error}");
                }
                return Ok(answer["result"].clone());
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                self.requests.push(parameters["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            "Runtime.exceptionThrown" => self.complaints.push(parameters["exceptionDetails"].to_string()),
            "Log.entryAdded" if parameters["entry"]["level"] != "info" => {
                self.complaints.push(parameters["entry"].to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        // Asked first, so that its own children end with it.
        let _ = self.call("Browser.close", &json!({}));
        for _ in 0..60 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
