//! What is different in our kernel's source: what a start does in vain, or in a slow way.

use crate::error::{At, TaskError};
use std::fs;
use std::path::Path;

/// Lines of a file that stand there once, and what is to stand there.
struct Edit {
    file: &'static str,
    old: &'static str,
    new: &'static str,
}

const PATCHING: &str = "arch/x86/kernel/alternative.c";

const LAYOUT: &str = "arch/x86/kernel/vmlinux.lds.S";

const EDITS: [Edit; 6] = [
    // Returns are in the file: nothing is to be done unless the processor needs something else.
    Edit {
        file: PATCHING,
        old: "\tif (cpu_wants_rethunk())\n",
        new: "\tif (!cpu_wants_rethunk())\n\t\treturn;\n\n\tif (cpu_wants_rethunk())\n",
    },
    Edit {
        file: PATCHING,
        old: "\t\tif (__static_call_fixup(addr, op, dest)",
        new: "\t\tif (op == RET_INSN_OPCODE) {\n\t\t\tinsn.length = JMP32_INSN_SIZE;\n\
              \t\t\tdest = &__x86_return_thunk;\n\t\t}\n\n\t\tif (__static_call_fixup(addr, op, dest)",
    },
    // On one processor thousands of locks lose their prefix, while all text can be written still: each through a page table of
    // its own otherwise. Without modules there is no later time at which this runs.
    Edit {
        file: PATCHING,
        old: "text_poke(ptr, ((unsigned char []){0x3E}), 1);",
        new: "text_poke_early(ptr, ((unsigned char []){0x3E}), 1);",
    },
    // What a guest of encrypted memory shares with its host is kept on a large page of its own. Here no memory is encrypted,
    // and the kernel would be a large page longer.
    Edit {
        file: LAYOUT,
        old: "ALIGN(PMD_SIZE);\t\t\t\t\t\\\n\t__start_bss_decrypted = .;",
        new: "ALIGN(PAGE_SIZE);\t\t\t\t\t\\\n\t__start_bss_decrypted = .;",
    },
    Edit {
        file: LAYOUT,
        old: "__start_bss_decrypted_unused = .;\t\t\t\\\n\t. = ALIGN(PMD_SIZE);",
        new: "__start_bss_decrypted_unused = .;\t\t\t\\\n\t. = ALIGN(PAGE_SIZE);",
    },
    // What each processor has of everything: a pod of twenty layers needs more than 28 KiB, and for more than that the kernel
    // makes room for 2 MiB, and clears 2 MiB to count it by.
    Edit {
        file: "include/linux/percpu.h",
        old: "(28 << PERCPU_DYNAMIC_SIZE_SHIFT)",
        new: "(128 << PERCPU_DYNAMIC_SIZE_SHIFT)",
    },
];

/// All that the built kernel depends on of this.
pub(super) fn edits() -> String {
    EDITS.iter().flat_map(|edit| [edit.file, "\n", edit.old, edit.new]).collect()
}

/// Edits the kernel's source in `tree`.
pub(super) fn edit(tree: &Path) -> Result<(), TaskError> {
    for edit in EDITS {
        let path = tree.join(edit.file);
        let text = fs::read_to_string(&path).at("read", &path)?;
        if text.matches(edit.old).count() != 1 {
            let found = vec![format!("{}: {}", edit.file, edit.old)];
            let rule =
                "lines of the kernel's source that are to be edited, and do not stand there once";
            return Err(TaskError::Broken { rule, found });
        }
        fs::write(&path, text.replacen(edit.old, edit.new, 1)).at("write", path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_source_without_the_lines_is_not_edited() {
        let tree = std::env::temp_dir().join(format!("rkt-source-{}", std::process::id()));
        let mut files = BTreeMap::<&str, String>::new();
        for edit in &EDITS {
            files.entry(edit.file).or_default().push_str(edit.old);
        }
        for (file, text) in &files {
            let path = tree.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
        edit(&tree).unwrap();
        for edit in &EDITS {
            assert!(fs::read_to_string(tree.join(edit.file)).unwrap().contains(edit.new));
        }
        fs::write(tree.join(LAYOUT), "another layout").unwrap();
        assert!(edit(&tree).is_err());
        fs::remove_dir_all(tree).unwrap();
    }
}
