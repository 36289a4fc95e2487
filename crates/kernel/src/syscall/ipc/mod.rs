//! System V interprocess communication (sysvipc(7)) and POSIX message queues (mq_overview(7)).

pub mod mqueue;
pub mod msg;
pub mod sem;
pub mod shm;
