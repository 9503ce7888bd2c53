//! Connections must begin to talk at once. hyper looks at the first 24 bytes to tell HTTP/2 from HTTP/1 and has no time
//! limit there; from then on its own limits hold.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Length of HTTP/2's preface.
const PREFACE: usize = 24;

/// An acceptor whose connections fail when their first bytes don't come in time.
#[derive(Clone)]
pub struct Prompt<A> {
    inner: A,
    limit: Duration,
}

impl<A> Prompt<A> {
    pub fn new(inner: A, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

impl<A, I, S> Accept<I, S> for Prompt<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
{
    type Stream = PromptStream<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let accepting = self.inner.accept(stream, service);
        let limit = self.limit;
        Box::pin(async move {
            let (inner, service) = accepting.await?;
            let deadline = Some(Box::pin(tokio::time::sleep(limit)));
            Ok((PromptStream { inner, deadline, seen: 0 }, service))
        })
    }
}

pub struct PromptStream<S> {
    inner: S,
    /// None once it has begun to talk.
    deadline: Option<Pin<Box<Sleep>>>,
    seen: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for PromptStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.deadline.is_none() {
            return polled;
        }
        if polled.is_ready() {
            self.seen += buf.filled().len() - before;
            if self.seen >= PREFACE {
                self.deadline = None;
            }
            return polled;
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
            None => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PromptStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // An answer to a request shorter than the preface.
        self.deadline = None;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.deadline = None;
        Pin::new(&mut self.inner).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    async fn accepted() -> (PromptStream<DuplexStream>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        let acceptor = Prompt::new(axum_server::accept::DefaultAcceptor::new(), LIMIT);
        (acceptor.accept(ours, ()).await.unwrap().0, theirs)
    }

    #[tokio::test]
    async fn silence_and_dribble_end_the_connection() {
        let (mut silent, _theirs) = accepted().await;
        assert_eq!(silent.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);

        let (mut dribbling, mut theirs) = accepted().await;
        theirs.write_all(b"PRI * HTTP").await.unwrap();
        let error = dribbling.read_exact(&mut [0; PREFACE]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_has_begun_to_talk_or_got_an_answer_may_pause() {
        let (mut talking, mut theirs) = accepted().await;
        theirs.write_all(&[b'x'; PREFACE]).await.unwrap();
        talking.read_exact(&mut [0; PREFACE]).await.unwrap();
        let (mut answered, mut others) = accepted().await;
        answered.write_all(b"answer").await.unwrap();
        answered.flush().await.unwrap();
        // A silent connection of the same age is gone by now.
        let (mut silent, _theirs) = accepted().await;
        assert_eq!(silent.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        for (stream, theirs) in [(&mut talking, &mut theirs), (&mut answered, &mut others)] {
            theirs.write_u8(7).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), 7);
            stream.shutdown().await.unwrap();
        }
    }
}
