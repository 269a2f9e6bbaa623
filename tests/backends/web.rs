//! A web server that keeps what it was asked, and answers as it was told to.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Status, headers and body as they are sent.
    Says(&'static str),
    /// The connection stays open, and nothing comes.
    Hangs,
}

pub const OK: Answer = Answer::Says("200 OK\r\n\r\n");

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Lines in lower case.
    pub headers: Vec<String>,
    pub body: String,
}

impl Asked {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Clone)]
pub struct Web {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Web {
    /// Gives these answers in turn, and then OK.
    pub fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = answers.iter().cloned().collect();
        let web = Self { port, asked: Arc::default(), answers: Arc::new(Mutex::new(answers)) };
        let serving = web.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let web = serving.clone();
                std::thread::spawn(move || web.serve(&stream));
            }
        });
        web
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What came since the last call.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if header.trim().is_empty() {
                break;
            }
            headers.push(header.trim().to_lowercase());
        }
        let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or_default()];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).ok()?;
        self.asked.lock().unwrap().push(Asked { method, path, headers, body });
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(OK);
        match answer {
            Answer::Says(answer) => {
                let (status, rest) = answer.split_once("\r\n")?;
                let mut stream = stream;
                stream.write_all(format!("HTTP/1.1 {status}\r\nconnection: close\r\n{rest}").as_bytes()).ok()
            }
            Answer::Hangs => {
                std::thread::sleep(Duration::from_secs(60));
                None
            }
        }
    }
}
