//! What the UDP forwarder costs and adds, as JSON: `cargo run --release -p server --example udp`. `bench/run udp` makes a
//! table of it. Browsers and agents are threads of this program; the forwarder has a thread of its own, whose processor
//! time is what the kernel counted.

use std::fs;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use protocol::media::{HEADER, MAX_MESSAGE, Remote};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, recv, send,
    socket_with,
};
use serde_json::{Value, json};
use server::clock::Clock;
use server::driver::{AgentKey, MediaEndpoint};
use server::gateway::udp::{Forwarder, Port, UserNames};
use server::ids::SessionId;

/// Bytes of a video datagram.
const VIDEO: usize = 1200;
const SECONDS: Duration = Duration::from_secs(3);
/// So many that what one session may send does not count.
const SESSIONS: usize = 12;
const ROUND_TRIPS: usize = 5000;

/// One session: its agent's end, and a browser that has been let in.
struct Session {
    agent: Arc<OwnedFd>,
    browser: Arc<UdpSocket>,
    to: Remote,
}

struct Stage {
    sessions: Vec<Session>,
    /// `schedstat` of the forwarder's thread.
    forwarder: PathBuf,
    _folder: tempfile::TempDir,
}

fn main() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let report = json!({
        "datagramBytes": VIDEO,
        "sessions": SESSIONS,
        "down": stage.down(None)?,
        "pacedDown": stage.down(Some(Duration::from_micros(16_667)))?,
        "up": stage.up()?,
        "latency": { "direct": direct()?, "forwarded": stage.latency()? },
    });
    println!("{report:#}");
    Ok(())
}

impl Stage {
    fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let names = UserNames::new(&AgentKey::load_or_create(folder.path())?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let port = runtime.block_on(Port::bind("127.0.0.1:0".parse()?))?;
        let address = port.address()?;
        let (path, found) = (folder.path().to_owned(), names.clone());
        let (tell, told) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let _ = tell.send(rustix::thread::gettid());
            let agents = move |session| Some(MediaEndpoint::Unix(socket_path(&path, session)));
            runtime.block_on(Forwarder::new(Some(port), found, Clock::default(), agents).run());
        });
        let forwarder = PathBuf::from(format!("/proc/self/task/{}/schedstat", told.recv()?.as_raw_nonzero()));
        let sessions = (0..SESSIONS).map(|_| {
            let session = SessionId::new();
            let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            bind(&listener, &SocketAddrUnix::new(socket_path(folder.path(), session))?)?;
            listen(&listener, 1)?;
            let browser = UdpSocket::bind("127.0.0.1:0")?;
            browser.connect(address)?;
            socket2::SockRef::from(&browser).set_recv_buffer_size(2 << 20)?;
            browser.send(&check(&format!("{}:abcd", names.mint(session, u32::MAX))))?;
            let agent = accept(&listener)?;
            let mut message = [0; MAX_MESSAGE];
            let (_, length) = recv(&agent, &mut message[..], RecvFlags::empty())?;
            let (to, _) = Remote::decode(&message[..length])?;
            Ok(Session { agent: Arc::new(agent), browser: Arc::new(browser), to })
        });
        Ok(Self { sessions: sessions.collect::<anyhow::Result<_>>()?, forwarder, _folder: folder })
    }

    /// Processor time of the forwarder so far.
    fn used(&self) -> anyhow::Result<Duration> {
        let line = fs::read_to_string(&self.forwarder)?;
        let nanoseconds = line.split_whitespace().next().context("no processor time")?.parse()?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// All agents send: as fast as they may, or 25 datagrams in each period, which is 14 Mbit/s at 60 pictures a second.
    fn down(&self, period: Option<Duration>) -> anyhow::Result<Value> {
        let (stop, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let before = self.used()?;
        let started = Instant::now();
        let mut threads = vec![];
        for session in &self.sessions {
            let (agent, to, stopping) = (session.agent.clone(), session.to, stop.clone());
            threads.push(thread::spawn(move || {
                let message = [&to.encode()[..], &[7; VIDEO]].concat();
                let mut next = Instant::now();
                while !stopping.load(Ordering::Relaxed) {
                    for _ in 0..25 {
                        let _ = send(&agent, &message, SendFlags::NOSIGNAL);
                    }
                    if let Some(period) = period {
                        next += period;
                        thread::sleep(next.saturating_duration_since(Instant::now()));
                    }
                }
            }));
            threads.push(count(session.browser.clone(), stop.clone(), heard.clone())?);
        }
        self.result(&stop, threads, &heard, before, started)
    }

    /// All browsers send.
    fn up(&self) -> anyhow::Result<Value> {
        let (stop, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let before = self.used()?;
        let started = Instant::now();
        let mut threads = vec![];
        for session in &self.sessions {
            let (agent, browser) = (session.agent.clone(), session.browser.clone());
            let (stopping, counting) = (stop.clone(), heard.clone());
            threads.push(thread::spawn(move || {
                let mut message = [0; MAX_MESSAGE];
                while recv(&agent, &mut message[..], RecvFlags::empty()).is_ok_and(|(_, length)| length > HEADER + 1) {
                    counting.fetch_add(1, Ordering::Relaxed);
                }
            }));
            threads.push(thread::spawn(move || {
                while !stopping.load(Ordering::Relaxed) {
                    for _ in 0..10 {
                        let _ = browser.send(&[7; VIDEO]);
                    }
                    thread::sleep(Duration::from_millis(1));
                }
                // The last, which may be lost.
                for _ in 0..20 {
                    let _ = browser.send(&[7]);
                    thread::sleep(Duration::from_millis(10));
                }
            }));
        }
        self.result(&stop, threads, &heard, before, started)
    }

    fn result(
        &self,
        stop: &AtomicBool,
        threads: Vec<thread::JoinHandle<()>>,
        heard: &AtomicU64,
        before: Duration,
        started: Instant,
    ) -> anyhow::Result<Value> {
        thread::sleep(SECONDS);
        let (datagrams, used) = (heard.load(Ordering::Relaxed), self.used()? - before);
        let seconds = started.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| drop(thread.join()));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let datagrams = datagrams as f64;
        Ok(json!({
            "datagramsPerSecond": (datagrams / seconds).round(),
            "datagramsPerSecondAndCore": (datagrams / used.as_secs_f64()).round(),
            "microsecondsPerDatagram": round(used.as_secs_f64() * 1e6 / datagrams),
            "processor": round(used.as_secs_f64() / seconds),
        }))
    }

    /// There and back by way of an agent that sends back.
    fn latency(&self) -> anyhow::Result<Value> {
        let session = &self.sessions[0];
        let agent = session.agent.clone();
        thread::spawn(move || {
            let mut message = [0; MAX_MESSAGE];
            while let Ok((_, length @ 1..)) = recv(&agent, &mut message[..], RecvFlags::empty()) {
                let _ = send(&agent, &message[..length], SendFlags::NOSIGNAL);
            }
        });
        // What the measurement before has left behind.
        session.browser.set_read_timeout(Some(Duration::from_millis(200)))?;
        while session.browser.recv(&mut [0; MAX_MESSAGE]).is_ok() {}
        round_trips(&session.browser)
    }
}

/// The same with nothing between.
fn direct() -> anyhow::Result<Value> {
    let (browser, agent) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    browser.connect(agent.local_addr()?)?;
    browser.set_read_timeout(Some(Duration::from_millis(200)))?;
    thread::spawn(move || {
        let mut datagram = [0; MAX_MESSAGE];
        while let Ok((length, from)) = agent.recv_from(&mut datagram) {
            let _ = agent.send_to(&datagram[..length], from);
        }
    });
    round_trips(&browser)
}

/// One at a time, with a pause between as input has.
fn round_trips(browser: &UdpSocket) -> anyhow::Result<Value> {
    let mut took = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let started = Instant::now();
        browser.send(&[7; 200])?;
        browser.recv(&mut [0; MAX_MESSAGE]).context("a datagram was lost")?;
        took.push(started.elapsed());
        thread::sleep(Duration::from_micros(200));
    }
    took.sort();
    let microseconds = |percent: usize| round(took[ROUND_TRIPS * percent / 100].as_secs_f64() * 1e6);
    Ok(json!({ "p50Us": microseconds(50), "p99Us": microseconds(99) }))
}

fn count(
    browser: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
    heard: Arc<AtomicU64>,
) -> anyhow::Result<thread::JoinHandle<()>> {
    browser.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(thread::spawn(move || {
        let mut datagram = [0; MAX_MESSAGE];
        while !stop.load(Ordering::Relaxed) {
            if browser.recv(&mut datagram).is_ok() {
                heard.fetch_add(1, Ordering::Relaxed);
            }
        }
    }))
}

fn socket_path(folder: &Path, session: SessionId) -> PathBuf {
    folder.join(format!("{session}.sock"))
}

/// A STUN binding request with a user name.
fn check(user_name: &str) -> Vec<u8> {
    let padded = user_name.len().next_multiple_of(4);
    let mut message =
        [&[0, 1][..], &[0, u8::try_from(padded + 4).unwrap_or(0)], &[0x21, 0x12, 0xa4, 0x42], &[7; 12]].concat();
    message.extend([0, 6, 0, u8::try_from(user_name.len()).unwrap_or(0)]);
    message.extend(user_name.bytes());
    message.resize(24 + padded, 0);
    message
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
