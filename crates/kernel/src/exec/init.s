# The program behind `--init`: docker-init's work, as tini(1) does it. It runs the program that its arguments name (path,
# then the program's own arguments), passes every signal on to it, reaps whatever it inherits, and ends as the program did.
# `init.rs` holds what `as` makes of this. Without arguments it runs nothing and waits for a signal that ends it (`boxer run --pause`).
    .intel_syntax noprefix
    .globl _start
_start:
    mov rbx, rsp                    # argc, argv…
    mov rcx, [rsp]
    lea r12, [rsp + rcx*8 + 16]     # the environment
    sub rsp, 256                    # 0: set, 8: the mask before, 16: siginfo, 200: a word
    xor r14d, r14d                  # 0x10000 | wait status, once the program has ended
    # All signals but those of faults: ILL TRAP ABRT BUS FPE SEGV SYS.
    mov rax, 0xffffffffbffffb07
    mov [rsp], rax
    mov edi, 2                      # SIG_SETMASK
    mov rsi, rsp
    lea rdx, [rsp + 8]
    mov r10d, 8
    mov eax, 14                     # rt_sigprocmask
    syscall
    xor r13d, r13d                  # no program
    cmp qword ptr [rbx], 1
    je next
    mov eax, 57                     # fork
    syscall
    test eax, eax
    jz child
    mov edi, 125
    js exit
    mov r13d, eax                   # the program
next:
    mov rdi, rsp
    lea rsi, [rsp + 16]
    xor edx, edx
    mov r10d, 8
    mov eax, 128                    # rt_sigtimedwait, for ever
    syscall
    test eax, eax
    js reap
    cmp eax, 17                     # SIGCHLD
    je reap
    mov edi, r13d
    test edi, edi
    jz paused
    mov esi, eax
    mov eax, 62                     # kill
    syscall
reap:
    mov edi, -1
    lea rsi, [rsp + 200]
    mov edx, 1                      # WNOHANG
    xor r10d, r10d
    mov eax, 61                     # wait4
    syscall
    test eax, eax
    jle reaped
    cmp eax, r13d
    jne reap
    mov r14d, [rsp + 200]
    or r14d, 0x10000
    jmp reap
reaped:
    test r14d, r14d
    jz next
    mov edi, r14d
    and edi, 0x7f
    jz exited
    add edi, 128
    jmp exit
paused:
    cmp eax, 18                     # SIGCONT, SIGURG, SIGWINCH: nothing to most programs
    je next
    cmp eax, 23
    je next
    cmp eax, 28
    je next
    lea edi, [rax + 128]
    jmp exit
exited:
    mov edi, r14d
    shr edi, 8
    and edi, 0xff
exit:
    mov eax, 231                    # exit_group
    syscall
child:
    xor edi, edi
    xor esi, esi
    mov eax, 109                    # setpgid
    syscall
    mov eax, 39                     # getpid
    syscall
    mov [rsp + 200], eax
    xor edi, edi
    mov esi, 0x5410                 # TIOCSPGRP: the terminal's signals are for the program
    lea rdx, [rsp + 200]
    mov eax, 16                     # ioctl; not every standard input is a terminal
    syscall
    mov edi, 2
    lea rsi, [rsp + 8]
    xor edx, edx
    mov r10d, 8
    mov eax, 14
    syscall
    mov rdi, [rbx + 16]
    lea rsi, [rbx + 24]
    mov rdx, r12
    mov eax, 59                     # execve
    syscall
    mov ebp, 126
    mov ecx, 127
    cmp eax, -2                     # ENOENT
    cmove ebp, ecx
    mov edi, 2
    lea rsi, [rip + text]
    mov edx, offset end - text
    mov eax, 1                      # write
    syscall
    mov edi, ebp
    jmp exit
text:
    .ascii "docker-init: the program, or the interpreter that its file names, cannot be executed\n"
end:
