//! A stand-in for a syslog server, and an authority that signs its certificate.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A server that takes octet-counted messages, and can be killed together with the bytes that it
/// hasn't read.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    messages: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
    tls: Option<Arc<ServerConfig>>,
}

impl Server {
    pub(super) fn new(tls: Option<Arc<ServerConfig>>) -> Self {
        Self::at(free_address(), tls)
    }

    pub(super) fn at(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let mut server = Self {
            address,
            messages: Arc::default(),
            stop: Arc::default(),
            thread: None,
            tls,
        };
        server.run();
        server
    }

    pub(super) fn run(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.stop = Arc::default();
        let (messages, stop, tls) = (self.messages.clone(), self.stop.clone(), self.tls.clone());
        self.thread = Some(thread::spawn(move || {
            thread::scope(|scope| {
                while !stop.load(Ordering::SeqCst) {
                    match listener.accept() {
                        Ok((stream, _)) => {
                            let (messages, stop, tls) = (&messages, &stop, tls.clone());
                            scope.spawn(move || serve(stream, tls, messages, stop));
                        }
                        Err(_) => thread::sleep(Duration::from_millis(2)),
                    }
                }
            });
        }));
    }

    pub(super) fn kill(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }

    pub(super) fn messages(&self) -> Vec<Vec<u8>> {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// An address that stays free while a server is down: its port is below those that the kernel
/// assigns by itself.
pub(super) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let process = u16::try_from(std::process::id() % 1_000).unwrap();
        let port = 20_000 + process * 10 + NEXT.fetch_add(1, Ordering::SeqCst);
        let address = ([127, 0, 0, 1], port).into();
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.kill();
        }
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    messages: &Mutex<Vec<Vec<u8>>>,
    stop: &AtomicBool,
) {
    stream.set_nonblocking(false).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let stream = Patient(stream, stop);
    match tls {
        None => take(BufReader::new(stream), messages),
        Some(config) => {
            let connection = ServerConnection::new(config).unwrap();
            take(
                BufReader::new(StreamOwned::new(connection, stream)),
                messages,
            );
        }
    }
}

/// Reads frames to the end of the stream.
fn take(mut stream: impl BufRead, messages: &Mutex<Vec<Vec<u8>>>) {
    loop {
        let mut length = Vec::new();
        match stream.read_until(b' ', &mut length) {
            Ok(count) if count > 1 => {}
            _ => return,
        }
        let length = String::from_utf8(length).unwrap();
        let mut message = vec![0; length.trim_end().parse().unwrap()];
        if stream.read_exact(&mut message).is_err() {
            return;
        }
        messages.lock().unwrap().push(message);
    }
}

/// Waits for bytes until the server is stopped.
struct Patient<'a>(TcpStream, &'a AtomicBool);

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.1.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

impl io::Write for Patient<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Makes a PEM file of an authority, and a server with its certificate for "localhost".
pub(super) fn authority(directory: &Path, name: &str) -> (PathBuf, Arc<ServerConfig>) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let path = directory.join(name);
    fs::write(&path, authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (path, Arc::new(config))
}
