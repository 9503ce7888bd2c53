//! The relay between a browser that is two channels and an agent that is a pipe.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::channel::mpsc;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::gateway::framing::{CHUNK, RECORD_LIMIT, Unframed, records};

const QUICK: Limits = Limits {
    ping: Duration::from_millis(20),
    silence: Duration::from_millis(200),
    stall: Duration::from_millis(200),
    farewell: Duration::from_millis(500),
};

/// A browser that takes everything and remembers it.
#[derive(Clone, Default)]
struct Browser(Arc<Mutex<Vec<Message>>>);

impl Browser {
    fn pings(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|message| matches!(message, Message::Ping(_))).count()
    }

    fn close(&self) -> Option<CloseFrame> {
        match self.0.lock().unwrap().last() {
            Some(Message::Close(frame)) => frame.clone(),
            _ => None,
        }
    }
}

impl Sink<Message> for Browser {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Infallible> {
        self.0.lock().unwrap().push(message);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

fn said(messages: Vec<Message>) -> impl Stream<Item = Result<Message, Infallible>> + Unpin {
    futures::stream::iter(messages.into_iter().map(Ok)).chain(futures::stream::pending())
}

async fn lost() -> Closed {
    Closed::PictureLost
}

#[tokio::test]
async fn a_browser_that_says_nothing_is_gone() {
    let browser = Browser::default();
    let (agent, _held) = tokio::io::duplex(64);
    let closed = run(browser.clone(), said(vec![]), agent, Unframed, QUICK, std::future::pending(), lost).await;
    assert_eq!(closed, Closed::BrowserGone);
    assert!(browser.pings() >= 2, "it was asked");
    assert!(browser.close().is_none());
}

#[tokio::test]
async fn a_browser_that_answers_pings_stays() {
    let browser = Browser::default();
    let (agent, _held) = tokio::io::duplex(64);
    let pongs = futures::stream::unfold((), |()| async {
        tokio::time::sleep(QUICK.ping).await;
        Some((Ok::<_, Infallible>(Message::Pong(Bytes::new())), ()))
    });
    let over = async {
        tokio::time::sleep(QUICK.silence * 3).await;
        Closed::SignedOut
    };
    let closed = run(browser.clone(), Box::pin(pongs), agent, Unframed, QUICK, over, lost).await;
    assert_eq!(closed, Closed::SignedOut);
    assert_eq!(browser.close().unwrap().code, 4001);
}

#[tokio::test]
async fn a_browser_that_takes_nothing_holds_up_its_agent_and_is_given_up() {
    // A sink with room for one message that nobody takes out.
    let (sink, _held) = mpsc::channel::<Message>(0);
    let (agent, mut far) = tokio::io::duplex(1024);
    let agent_writes = async {
        let mut written = 0;
        while let Ok(Ok(())) = timeout(QUICK.stall * 2, far.write_all(&[7; 1024])).await {
            written += 1024;
        }
        written
    };
    let relay = run(
        sink,
        said(vec![]),
        agent,
        Unframed,
        Limits { silence: Duration::from_secs(60), ..QUICK },
        std::future::pending(),
        lost,
    );
    let (closed, written) = tokio::join!(relay, agent_writes);
    assert_eq!(closed, Closed::BrowserGone);
    // The pipe, one message on its way and one in the sink.
    assert!(written <= 1024 + 2 * CHUNK, "{written} bytes were taken in");
}

#[tokio::test]
async fn an_agent_that_takes_nothing_holds_up_its_browser_and_is_given_up() {
    let browser = Browser::default();
    let (agent, _never_reads) = tokio::io::duplex(16);
    let taken = Arc::new(Mutex::new(0));
    let counting = taken.clone();
    let messages = futures::stream::repeat_with(move || {
        *counting.lock().unwrap() += 1;
        Ok::<_, Infallible>(Message::Binary(Bytes::from_static(&[1; 32])))
    });
    // Long, so that on a busy machine it isn't the silence that is noticed first.
    let limits = Limits { silence: Duration::from_secs(60), ..QUICK };
    let closed = run(browser, messages, agent, Unframed, limits, std::future::pending(), lost).await;
    assert_eq!(closed, Closed::PictureLost);
    assert_eq!(*taken.lock().unwrap(), 1, "the second message was not even read");
}

#[tokio::test]
async fn who_hangs_up_is_asked_why() {
    let browser = Browser::default();
    let (agent, far) = tokio::io::duplex(64);
    drop(far);
    let why = async || Closed::SessionEnded("The session reached its end time.".to_owned());
    let closed = run(browser.clone(), said(vec![]), agent, Unframed, QUICK, std::future::pending(), why).await;
    assert_eq!(closed, Closed::SessionEnded("The session reached its end time.".to_owned()));
    let frame = browser.close().unwrap();
    assert_eq!((frame.code, frame.reason.as_str()), (4000, "The session reached its end time."));
    // An answer that does not come is not waited for.
    let (agent, far) = tokio::io::duplex(64);
    drop(far);
    let never = async || std::future::pending().await;
    let closed = run(browser.clone(), said(vec![]), agent, Unframed, QUICK, std::future::pending(), never).await;
    assert_eq!((closed, browser.close().unwrap().code), (Closed::PictureLost, 4002));
}

#[tokio::test]
async fn messages_that_are_no_rfb_end_it() {
    for (message, closed, code) in [
        (Message::Text("hello".into()), Closed::NotBinary, Some(1003)),
        (Message::Close(None), Closed::BrowserGone, None),
    ] {
        let browser = Browser::default();
        let (agent, _held) = tokio::io::duplex(64);
        let messages = vec![Message::Ping(Bytes::new()), message];
        assert_eq!(
            run(browser.clone(), said(messages), agent, Unframed, QUICK, std::future::pending(), lost).await,
            closed
        );
        assert_eq!(browser.close().map(|frame| frame.code), code);
    }
    let browser = Browser::default();
    let (agent, _held) = tokio::io::duplex(64);
    let broken = futures::stream::iter([Err(std::io::Error::other("no frame"))]);
    let closed = run(browser.clone(), broken, agent, Unframed, QUICK, std::future::pending(), lost).await;
    assert_eq!((closed, browser.close().unwrap().code), (Closed::BadMessage, 1002));
    let (agent, _held) = tokio::io::duplex(64);
    let ended = futures::stream::empty::<Result<Message, Infallible>>();
    assert_eq!(run(browser, ended, agent, Unframed, QUICK, std::future::pending(), lost).await, Closed::BrowserGone);
}

proptest! {
    #[test]
    fn reasons_fit_their_frame(reason in ".{0,200}") {
        let cut = cut(&reason);
        prop_assert!(cut.len() <= REASON_LIMIT && reason.starts_with(cut));
        prop_assert!(cut.len() == reason.len() || cut.len() > REASON_LIMIT - 4);
    }
}

/// Whatever the sizes of messages and reads, every byte arrives once and in order.
#[tokio::test]
async fn bytes_arrive_whole_and_in_order() {
    let browser = Browser::default();
    let (agent, far) = tokio::io::duplex(37);
    let up: Vec<Message> = (0_u8..100).map(|n| Message::Binary(Bytes::from(vec![n; usize::from(n) * 3]))).collect();
    let sent: Vec<u8> = (0_u8..100).flat_map(|n| vec![n; usize::from(n) * 3]).collect();
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let far_side = async {
        let mut got = vec![0; sent.len()];
        far_read.read_exact(&mut got).await.unwrap();
        assert_eq!(got, sent);
        far_write.write_all(&sent).await.unwrap();
        let received = || -> Vec<u8> {
            let messages = browser.0.lock().unwrap();
            messages
                .iter()
                .filter_map(|message| match message {
                    Message::Binary(bytes) => Some(bytes.to_vec()),
                    _ => None,
                })
                .flatten()
                .collect()
        };
        while received().len() < sent.len() {
            tokio::task::yield_now().await;
        }
        assert_eq!(received(), sent);
        Closed::ServerEnding
    };
    let limits = Limits { silence: Duration::from_secs(60), stall: Duration::from_secs(30), ..QUICK };
    let closed = run(browser.clone(), said(up), agent, Unframed, limits, far_side, lost).await;
    assert_eq!((closed, browser.close().unwrap().code), (Closed::ServerEnding, 1012));
}

/// Whatever the reads are, a message of one side is a message of the other.
#[tokio::test]
async fn records_are_messages() {
    let browser = Browser::default();
    let (agent, far) = tokio::io::duplex(37);
    let sizes = [0, 1, 5, 36, 37, 38, 1000, CHUNK, 3 * CHUNK + 1, 0, 2];
    let all = || sizes.iter().zip(0_u8..).map(|(size, n)| vec![n; *size]);
    let wire: Vec<u8> = all()
        .flat_map(|message| [&u32::try_from(message.len()).unwrap().to_le_bytes(), &message[..]].concat())
        .collect();
    let received = || -> Vec<Vec<u8>> {
        let messages = browser.0.lock().unwrap();
        let binary = |message: &Message| match message {
            Message::Binary(bytes) => Some(bytes.to_vec()),
            _ => None,
        };
        messages.iter().filter_map(binary).collect()
    };
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let far_side = async {
        let mut got = vec![0; wire.len()];
        far_read.read_exact(&mut got).await.unwrap();
        assert!(got == wire);
        far_write.write_all(&wire).await.unwrap();
        while received().len() < sizes.len() {
            tokio::task::yield_now().await;
        }
        assert!(received().into_iter().eq(all()));
        Closed::ServerEnding
    };
    let limits = Limits { silence: Duration::from_secs(60), stall: Duration::from_secs(30), ..QUICK };
    let messages = all().map(|bytes| Message::Binary(bytes.into())).collect();
    let closed = run(browser.clone(), said(messages), agent, records(), limits, far_side, lost).await;
    assert_eq!(closed, Closed::ServerEnding);
}

#[tokio::test]
async fn a_record_that_is_too_long_is_not_even_read() {
    let browser = Browser::default();
    let (agent, mut far) = tokio::io::duplex(64);
    far.write_u32_le(u32::try_from(RECORD_LIMIT).unwrap() + 1).await.unwrap();
    let closed = run(browser.clone(), said(vec![]), agent, records(), QUICK, std::future::pending(), lost).await;
    assert_eq!((closed, browser.close().unwrap().code), (Closed::PictureLost, 4002));
}

#[tokio::test]
async fn a_browser_that_takes_no_records_holds_up_its_agent() {
    let (sink, _held) = mpsc::channel::<Message>(0);
    let (agent, mut far) = tokio::io::duplex(1024);
    let agent_writes = async {
        let record = [&1024_u32.to_le_bytes()[..], &[7; 1024]].concat();
        let mut written = 0;
        while let Ok(Ok(())) = timeout(QUICK.stall * 2, far.write_all(&record)).await {
            written += record.len();
        }
        written
    };
    let limits = Limits { silence: Duration::from_secs(60), ..QUICK };
    let relay = run(sink, said(vec![]), agent, records(), limits, std::future::pending(), lost);
    let (closed, written) = tokio::join!(relay, agent_writes);
    assert_eq!(closed, Closed::BrowserGone);
    // The pipe, what one read takes, one message on its way and one in the sink.
    assert!(written <= 32 * 1024, "{written} bytes were taken in");
}
