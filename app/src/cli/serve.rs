//! `serve`: this machine's device, lent to studios on others.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context as _, Result, bail};
use engine::gpu::{self, DeviceChoice};
use engine::remote::{self, SCHEME, TOKEN_VARIABLE};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device to lend: auto, vulkan, metal, dx12 or cpu
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// The port to wait on; 0 takes one that is free
    #[arg(long, default_value_t = remote::PORT)]
    port: u16,
    /// The address of this machine to wait on; 127.0.0.1 lets in what comes through an SSH tunnel
    /// alone
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    listen: IpAddr,
    /// What others have to know; without it VIDEOWORLD_TOKEN, or else a new one that is shown
    #[arg(long)]
    token: Option<String>,
}

/// Comes back when it is told to stop, with Ctrl+C or SIGTERM.
pub fn run(args: &Args) -> Result<()> {
    if !remote::BUILT {
        bail!(remote::NOT_BUILT);
    }
    if args.device.is_remote() {
        bail!("only a device of this machine can be lent; choose another --device");
    }
    let told = args.token.clone().or_else(|| std::env::var(TOKEN_VARIABLE).ok());
    let token = told.clone().unwrap_or_else(remote::new_token);
    let chosen = gpu::choose(args.device)?;
    let place = SocketAddr::new(args.listen, args.port);
    let listener = TcpListener::bind(place)
        .with_context(|| format!("{place} cannot be waited on; choose another --port"))?;
    let port = listener.local_addr().context("the port that was taken is not known")?.port();
    let address = format!("{SCHEME}{}", SocketAddr::new(reached_at(args.listen), port));
    println!("lending {}", chosen.description);
    println!("address: {address}");
    match &told {
        None => println!("token: {token}"),
        Some(_) => println!("token: the one that was given"),
    }
    println!("on another machine: {TOKEN_VARIABLE}=… videoworld-studio --remote {address}");
    println!("or in its window: Device > Remote…");
    println!("nothing is encrypted: stay in a network you trust, or use an SSH tunnel");
    std::io::stdout().flush()?;
    Ok(remote::serve(&chosen, listener, &token)?)
}

/// The address that others know this machine by, as far as it can be told from here.
fn reached_at(listen: IpAddr) -> IpAddr {
    if !listen.is_unspecified() {
        return listen;
    }
    // Asks the system for its way out; nothing is sent, and the addresses are those of examples.
    let (from, to): (IpAddr, IpAddr) = match listen {
        IpAddr::V4(any) => (any.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        IpAddr::V6(any) => (any.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    };
    let way_out = UdpSocket::bind((from, 0)).and_then(|socket| {
        socket.connect((to, 9))?;
        socket.local_addr()
    });
    way_out.map_or(listen, |address| address.ip())
}
