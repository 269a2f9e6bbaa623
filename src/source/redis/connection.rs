//! A connection to a Redis server, over the network or a socket, and as much of its protocol as a copy needs: commands,
//! their replies, and bytes as they come. Nothing here waits for longer than a moment without asking whether to stop.

use super::Failure;
use super::address::Address;
use super::tls::Wire;
use crate::runtime::Runtime;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a read waits before it is looked whether to stop.
const TICK: Duration = Duration::from_millis(100);
/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;
/// What no reply to a command of this module is longer than.
const REPLY_MAX: usize = 4 << 20;
/// Replies within replies.
const DEPTH_MAX: u32 = 4;

/// An open connection.
pub struct Connection<'a> {
    wire: Box<dyn Wire>,
    /// For messages.
    pub address: String,
    runtime: &'a Runtime,
    patience: Duration,
    buffer: Vec<u8>,
    /// What of the buffer was used.
    used: usize,
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Line(String),
    Error(String),
    Number(i64),
    Bytes(Vec<u8>),
    Nothing,
    List(Vec<Reply>),
}

impl<'a> Connection<'a> {
    /// Connects; nothing is said yet.
    pub fn open(options: &super::Options, runtime: &'a Runtime) -> Result<Self, Failure> {
        let address = options.address.to_string();
        let failed = |error| Failure::Unreached { address: address.clone(), error };
        let wire: Box<dyn Wire> = match &options.address {
            Address::Socket(path) => {
                let stream = UnixStream::connect(path).map_err(failed)?;
                stream.set_read_timeout(Some(TICK)).map_err(failed)?;
                stream.set_write_timeout(Some(options.timeout)).map_err(failed)?;
                Box::new(stream)
            }
            Address::Host { host, port, tls } => {
                let stream = reach(host, *port).map_err(failed)?;
                stream.set_write_timeout(Some(options.timeout)).map_err(failed)?;
                let ticks = stream.try_clone().map_err(failed)?;
                let wire: Box<dyn Wire> = if *tls {
                    super::tls::wrap(stream, host, options.authorities.as_deref()).map_err(failed)?
                } else {
                    Box::new(stream)
                };
                // of the same socket
                ticks.set_read_timeout(Some(TICK)).map_err(failed)?;
                wire
            }
        };
        Ok(Self { wire, address, runtime, patience: options.timeout, buffer: Vec::new(), used: 0 })
    }

    /// Says a command.
    pub fn say(&mut self, words: &[&[u8]]) -> Result<(), Failure> {
        let mut out = Zeroizing::new(format!("*{}\r\n", words.len()).into_bytes());
        for word in words {
            out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
        let said = self.wire.write_all(&out).and_then(|()| self.wire.flush());
        said.map_err(|error| self.lost(error))
    }

    /// Says a command and hears the reply, which may be an error.
    pub fn ask(&mut self, words: &[&[u8]]) -> Result<Reply, Failure> {
        self.say(words)?;
        self.reply(0)
    }

    /// The same where an error is none of ours to deal with.
    pub fn order(&mut self, command: &'static str, words: &[&[u8]]) -> Result<Reply, Failure> {
        match self.ask(words)? {
            Reply::Error(message) => Err(Failure::Refused { address: self.address.clone(), command, message }),
            reply => Ok(reply),
        }
    }

    fn reply(&mut self, depth: u32) -> Result<Reply, Failure> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| self.strange("an empty line"))?;
        let number = || rest.parse::<i64>().map_err(|_| self.strange("a number that is none"));
        match kind {
            "+" => Ok(Reply::Line(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => Ok(Reply::Number(number()?)),
            "$" => match usize::try_from(number()?) {
                Err(_) => Ok(Reply::Nothing),
                Ok(length) if length > REPLY_MAX => Err(self.strange("a reply that is too long")),
                Ok(length) => {
                    let mut bytes = self.bytes(length.saturating_add(2))?;
                    bytes.truncate(length);
                    Ok(Reply::Bytes(bytes))
                }
            },
            "*" => match usize::try_from(number()?) {
                Err(_) => Ok(Reply::Nothing),
                Ok(length) if length > REPLY_MAX || depth >= DEPTH_MAX => Err(self.strange("a reply that is too long")),
                Ok(length) => Ok(Reply::List((0..length).map(|_| self.reply(depth + 1)).collect::<Result<_, _>>()?)),
            },
            _ => Err(self.strange("an answer of no known kind")),
        }
    }

    /// The next line that is not empty: a server that prepares a copy says newlines, so that nobody takes it for dead.
    pub fn line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        loop {
            if self.used == self.buffer.len() && self.fill()? == 0 {
                return Err(self.ended());
            }
            let rest = self.buffer.get(self.used..).unwrap_or_default();
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                line.extend_from_slice(rest);
                self.used = self.buffer.len();
                if line.len() > REPLY_MAX {
                    return Err(self.strange("a line that is too long"));
                }
                continue;
            };
            line.extend_from_slice(rest.get(..end).unwrap_or_default());
            self.used = self.used.saturating_add(end).saturating_add(1);
            let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            if !text.is_empty() {
                return Ok(text);
            }
            line.clear();
        }
    }

    fn bytes(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        let mut out = vec![0; length];
        let mut rest = out.as_mut_slice();
        while !rest.is_empty() {
            let read = self.some(rest)?;
            if read == 0 {
                return Err(self.ended());
            }
            rest = rest.get_mut(read..).unwrap_or_default();
        }
        Ok(out)
    }

    /// Bytes as they come; none if the server has closed the connection.
    pub fn some(&mut self, out: &mut [u8]) -> Result<usize, Failure> {
        if self.used == self.buffer.len() && self.fill()? == 0 {
            return Ok(0);
        }
        let mut rest = self.buffer.get(self.used..).unwrap_or_default();
        let read = rest.read(out).unwrap_or_default();
        self.used = self.used.saturating_add(read);
        Ok(read)
    }

    fn fill(&mut self) -> Result<usize, Failure> {
        let clock = &self.runtime.clock;
        let begun = clock.elapsed();
        self.buffer.resize(CHUNK, 0);
        self.used = 0;
        loop {
            let read = self.wire.read(&mut self.buffer);
            self.buffer.truncate(*read.as_ref().unwrap_or(&CHUNK));
            match read {
                Ok(length) => return Ok(length),
                Err(error) if is_pause(&error) => {}
                Err(error) => {
                    self.buffer.clear();
                    return Err(self.lost(error));
                }
            }
            if self.runtime.is_stopped() {
                return Err(Failure::Interrupted);
            }
            if clock.elapsed().since(begun) >= self.patience {
                return Err(Failure::Silent { address: self.address.clone(), seconds: self.patience.as_secs() });
            }
        }
    }

    fn lost(&self, error: io::Error) -> Failure {
        Failure::Unreached { address: self.address.clone(), error }
    }

    /// The connection was closed before all was said.
    pub fn ended(&self) -> Failure {
        self.lost(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection before all was said"))
    }

    /// What no server of this kind says.
    pub fn strange(&self, what: &str) -> Failure {
        Failure::Strange { address: self.address.clone(), what: what.to_owned() }
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// The first of a host's addresses that answers.
fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other("its name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
