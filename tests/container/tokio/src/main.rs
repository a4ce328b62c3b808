// TCP and unix sockets, timers, files, signals and a child process on tokio's runtime of several threads. Prints "tokio ok".
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::signal::unix::{signal, SignalKind};

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn echoed(listener: TcpListener) -> Result<(), Failure> {
    let (mut peer, _) = listener.accept().await?;
    let mut bytes = [0u8; 5];
    peer.read_exact(&mut bytes).await?;
    peer.write_all(&bytes).await?;
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 3)]
async fn main() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut client = TcpStream::connect(listener.local_addr()?).await?;
    let server = tokio::spawn(echoed(listener));
    client.write_all(b"hello").await?;
    let mut answer = [0u8; 5];
    client.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    server.await??;

    let (mut left, mut right) = UnixStream::pair()?;
    left.write_all(b"x").await?;
    assert_eq!(right.read_u8().await?, b'x');

    let mut users = signal(SignalKind::user_defined1())?;
    let command = format!("kill -USR1 {}; echo from a child", std::process::id());
    let child = tokio::process::Command::new("sh").args(["-c", &command]).output().await?;
    assert_eq!(child.stdout, b"from a child\n");
    tokio::time::timeout(Duration::from_secs(10), users.recv()).await?;

    tokio::fs::write("/tmp/tokio-smoke", b"file").await?;
    assert_eq!(tokio::fs::read("/tmp/tokio-smoke").await?, b"file");
    println!("tokio ok");
    Ok(())
}
