//! Filters of system calls: a list of what a thread may ask of the kernel, as the program that the kernel runs at each
//! call. What is not on the list ends the whole process.
//!
//! The kernel compares in the order of the list, so that what is called most comes first. Calls of other architectures, or
//! with numbers of another calling convention, are on no list.
#![expect(unsafe_code, reason = "seccomp(2) has no safe wrapper")]

use std::io;

/// A call that may be made.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    number: libc::c_long,
    when: &'static [Argument],
    refused: Option<u16>,
}

impl Call {
    /// This call, whatever it is about.
    pub const fn any(number: libc::c_long) -> Self {
        Self { number, when: &[], refused: None }
    }

    /// This call if all of its arguments that are named are as they say. If it is listed again, it may also be as that says.
    pub const fn when(number: libc::c_long, when: &'static [Argument]) -> Self {
        Self { number, when, refused: None }
    }

    /// This call may be made, fails with this error, and does nothing: for what a library tries before it does
    /// something else.
    pub const fn refused(number: libc::c_long, error: i32) -> Self {
        Self { number, when: &[], refused: Some(error as u16) }
    }
}

/// What an argument of a call must be. Only its lower half is looked at: the arguments that can be judged at all, not
/// being addresses, are no longer than that, or flags whose upper half means nothing.
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    index: u32,
    mask: u32,
    is: Is,
}

#[derive(Debug, Clone, Copy)]
enum Is {
    OneOf(&'static [u32]),
    Myself,
}

impl Argument {
    /// The argument, counted from 0, is one of these.
    pub const fn one_of(index: u32, values: &'static [u32]) -> Self {
        Self { index, mask: u32::MAX, is: Is::OneOf(values) }
    }

    /// Of the bits in the mask it has one of these sets.
    pub const fn bits(index: u32, mask: u32, values: &'static [u32]) -> Self {
        Self { index, mask, is: Is::OneOf(values) }
    }

    /// It is the number of the process that makes the filter.
    pub const fn myself(index: u32) -> Self {
        Self { index, mask: u32::MAX, is: Is::Myself }
    }
}

/// A filter, ready to be installed.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Vec<Instruction>,
}

/// `struct sock_filter` of the kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// Operations: load a word of the call's description, keep some bits, skip if equal, end.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Where the description has the number, the architecture, and the lower half of the first argument.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
const ARGUMENT_SIZE: u32 = 8;
/// Answers.
const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERROR: u32 = 0x0005_0000;
/// This architecture, by the kernel's number.
#[cfg(target_arch = "x86_64")]
const OURS: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OURS: u32 = 0xc000_00b7;

const fn instruction(code: u16, value: u32) -> Instruction {
    Instruction { code, if_true: 0, if_false: 0, value }
}

/// Goes on if equal, else skips so many.
const fn unless_equal(value: u32, skip: u8) -> Instruction {
    Instruction { code: IF_EQUAL, if_true: 0, if_false: skip, value }
}

impl Filter {
    /// The filter of a list.
    ///
    /// # Errors
    /// What is listed about one call is too long for a program of the kernel's.
    pub fn new(calls: &[Call]) -> io::Result<Self> {
        let mut program = vec![
            instruction(LOAD, ARCHITECTURE),
            Instruction { code: IF_EQUAL, if_true: 1, if_false: 0, value: OURS },
            instruction(RETURN, KILL_PROCESS),
            instruction(LOAD, NUMBER),
        ];
        let mut seen = Vec::with_capacity(calls.len());
        for call in calls {
            if seen.contains(&call.number) {
                continue;
            }
            seen.push(call.number);
            let block = block(calls.iter().filter(|other| other.number == call.number))?;
            let number = u32::try_from(call.number).map_err(|_| io::ErrorKind::InvalidInput)?;
            program.push(unless_equal(number, length(&block)?));
            program.extend(block);
        }
        program.push(instruction(RETURN, KILL_PROCESS));
        Ok(Self { program })
    }

    /// Installs it for the calling thread and all it will start, for ever, beside those that it has. The thread must have
    /// given up new privileges.
    ///
    /// # Errors
    /// The kernel has no filters, or privileges were not given up.
    pub fn install(&self) -> io::Result<()> {
        let count = u16::try_from(self.program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let program = libc::sock_fprog {
            len: count,
            // The kernel only reads; the type is that of another use of the structure.
            filter: self.program.as_ptr().cast_mut().cast(),
        };
        let program: *const libc::sock_fprog = &raw const program;
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        // SAFETY: the kernel reads the structure and as many instructions as it says, which `self` owns, laid out as the
        // kernel's own, and copies them before the call is over.
        let rc = unsafe { libc::syscall(libc::SYS_seccomp, mode, 0_u32, program) };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// What is decided about one call, once its number is known.
fn block<'a>(group: impl Iterator<Item = &'a Call>) -> io::Result<Vec<Instruction>> {
    let mut block = Vec::new();
    for call in group {
        let mut checks = Vec::new();
        // From the end on, since each check skips what follows it.
        for argument in call.when.iter().rev() {
            // To the next alternative, past the verdict.
            let next = length(&checks)?.checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
            let mut check = vec![instruction(LOAD, ARGUMENTS + ARGUMENT_SIZE * argument.index)];
            if argument.mask != u32::MAX {
                check.push(instruction(AND, argument.mask));
            }
            let own = [rustix::process::getpid().as_raw_nonzero().get() as u32];
            let values = match argument.is {
                // Without a value there would be no check.
                Is::OneOf([]) => return Err(io::ErrorKind::InvalidInput.into()),
                Is::OneOf(values) => values,
                Is::Myself => &own,
            };
            for (left, value) in (0..values.len()).rev().zip(values) {
                let left = u8::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
                let if_false = if left == 0 { next } else { 0 };
                let value = *value;
                check.push(Instruction { code: IF_EQUAL, if_true: left, if_false, value });
            }
            check.append(&mut checks);
            checks = check;
        }
        block.append(&mut checks);
        let verdict = call.refused.map_or(ALLOW, |error| ERROR | u32::from(error));
        block.push(instruction(RETURN, verdict));
        if call.when.is_empty() {
            return Ok(block);
        }
    }
    block.push(instruction(RETURN, KILL_PROCESS));
    Ok(block)
}

/// How many instructions to skip; the kernel's field for that is a byte.
fn length(block: &[Instruction]) -> io::Result<u8> {
    u8::try_from(block.len()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer to a call.
    fn judge(filter: &Filter, number: u32, arguments: [u64; 6]) -> u32 {
        judge_of(OURS, filter, number, arguments)
    }

    fn judge_of(architecture: u32, filter: &Filter, number: u32, arguments: [u64; 6]) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let step = filter.program[at];
            at += 1;
            match step.code {
                LOAD => {
                    value = match step.value {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        other => {
                            assert_eq!((other - ARGUMENTS) % ARGUMENT_SIZE, 0);
                            let index = (other - ARGUMENTS) / ARGUMENT_SIZE;
                            (arguments[index as usize] & u64::from(u32::MAX)) as u32
                        }
                    }
                }
                AND => value &= step.value,
                IF_EQUAL => {
                    let skip = if value == step.value { step.if_true } else { step.if_false };
                    at += usize::from(skip);
                }
                RETURN => return step.value,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn what_is_listed_is_allowed_and_nothing_else() {
        const LIST: [Call; 8] = [
            Call::when(16, &[Argument::one_of(1, &[0xae80, 0x5421])]),
            Call::any(1),
            Call::when(9, &[Argument::bits(2, 4, &[0]), Argument::bits(3, 0x20, &[0x20])]),
            Call::when(157, &[Argument::one_of(0, &[15])]),
            Call::when(234, &[Argument::myself(0)]),
            Call::when(157, &[Argument::one_of(0, &[4]), Argument::one_of(1, &[0, 2, 3])]),
            Call::refused(435, 38),
            Call::any(60),
        ];
        let filter = Filter::new(&LIST).unwrap();
        let own = u64::from(std::process::id());
        for (number, arguments, verdict) in [
            (1, [u64::MAX; 6], ALLOW),
            (60, [0; 6], ALLOW),
            (0, [0; 6], KILL_PROCESS),
            (16, [7, 0xae80, 0, 0, 0, 0], ALLOW),
            (16, [7, 0xffff_ffff_0000_5421, 0, 0, 0, 0], ALLOW),
            (16, [0xae80, 0xae81, 0xae80, 0, 0, 0], KILL_PROCESS),
            (9, [0, 0, 3, 0x22, 0, 0], ALLOW),
            (9, [0, 0, 7, 0x22, 0, 0], KILL_PROCESS),
            (9, [0, 0, 3, 2, 0, 0], KILL_PROCESS),
            (157, [15, 9, 0, 0, 0, 0], ALLOW),
            (157, [4, 3, 0, 0, 0, 0], ALLOW),
            (157, [4, 1, 0, 0, 0, 0], KILL_PROCESS),
            (157, [38, 0, 0, 0, 0, 0], KILL_PROCESS),
            (234, [own, 0, 0, 0, 0, 0], ALLOW),
            (234, [own + 1, 0, 0, 0, 0, 0], KILL_PROCESS),
            (435, [0; 6], ERROR | 0x26),
            // The same numbers in the other convention of the same processor.
            (0x4000_0001, [0; 6], KILL_PROCESS),
            (u32::MAX, [0; 6], KILL_PROCESS),
        ] {
            assert_eq!(judge(&filter, number, arguments), verdict, "{number} {arguments:x?}");
        }
        assert_eq!(judge_of(0x4000_0003, &filter, 1, [0; 6]), KILL_PROCESS);
        assert_eq!(judge(&Filter::new(&[]).unwrap(), 1, [0; 6]), KILL_PROCESS);
    }

    #[test]
    fn a_program_that_the_kernel_could_not_run_is_none() {
        static MANY: [u32; 300] = [0; 300];
        static LIST: [Argument; 1] = [Argument::one_of(0, &MANY)];
        Filter::new(&[Call::when(1, &LIST)]).unwrap_err();
        Filter::new(&[Call::any(-1)]).unwrap_err();
    }
}
