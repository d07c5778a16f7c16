#include "stack/python/program.hpp"

#include <algorithm>

#include "stack/threads.hpp"

namespace stack::python {
namespace {

constexpr std::size_t name_limit = 256;  // of threads and tasks
constexpr std::size_t most_tasks = 20'000;
constexpr Address module_dict = 16;  // PyModuleObject.md_dict
constexpr Address weak_object = 16;  // PyWeakReference.wr_object
constexpr Address wrapped = 16;      // PyCoroWrapper.cw_coroutine, PyAsyncGenASend.ags_gen, FutureIter.future

// Values of gi_frame_state that say so (Include/internal/pycore_frame.h); negative: it has begun or may begin.
constexpr signed char executing = 0;
// gi_frame_state lies right before gi_iframe, less padding.
constexpr unsigned state_before_frame = 5;

bool is_coroutine(const std::string& type) {
  return type == "coroutine" || type == "generator" || type == "async_generator";
}

// "Future" of "_asyncio.Future".
std::string last_part(const std::string& type) { return type.substr(type.rfind('.') + 1); }

}  // namespace

void Program::read(const PythonInterpreter& interpreter, unsigned max_frames, const std::function<bool()>& stop) {
  const Layout& layout = objects_.layout();
  // Objects of free-threaded builds begin with a longer header, which the offsets here do not know.
  if (!interpreter.modules || layout.free_threaded) return;
  Address threading = 0, asyncio_tasks = 0;
  objects_.each_text(interpreter.modules, [&](const Text& name, const Objects::Entry& entry) {
    if (name.is("threading")) threading = entry.value;
    if (name.is("asyncio.tasks")) asyncio_tasks = entry.value;
    return !threading || !asyncio_tasks;
  });
  if (threading && objects_.is(threading, "module")) read_names(threading);
  if (asyncio_tasks && objects_.is(asyncio_tasks, "module")) read_tasks(asyncio_tasks, max_frames, stop);
}

void Program::read_names(Address threading) {
  const auto dict = objects_.memory().pointer(threading + module_dict);
  const auto active = dict ? objects_.item(*dict, "_active") : std::nullopt;  // {ident: Thread}
  if (!active) return;
  const auto all = objects_.entries(*active);
  if (!all) return;
  constexpr std::size_t at_once = 32;
  for (std::size_t first = 0; first < all->size() && names.size() < max_threads; first += at_once) {
    const std::span some = std::span{*all}.subspan(first, std::min(at_once, all->size() - first));
    objects_.look_ahead(some);
    std::vector<std::uint64_t> idents;
    std::vector<Address> texts;
    for (const Objects::Entry& entry : some) {
      const auto ident = objects_.integer(entry.key);
      const auto name = ident ? objects_.attribute(entry.value, "_name") : std::nullopt;
      if (!name) continue;
      idents.push_back(*ident);
      texts.push_back(*name);
    }
    objects_.look_ahead_at_texts(texts);
    for (std::size_t i = 0; i < texts.size(); ++i)
      if (auto text = objects_.text(texts[i], name_limit)) names.insert_or_assign(idents[i], std::move(*text));
  }
  objects_.look_ahead({});
}

void Program::read_tasks(Address asyncio_tasks, unsigned max_frames, const std::function<bool()>& stop) {
  // Since 3.14 tasks are in lists of the interpreter instead of a WeakSet.
  const Layout& layout = objects_.layout();
  if (layout.version >= version_of(3, 14)) return;
  const auto dict = objects_.memory().pointer(asyncio_tasks + module_dict);
  const char* const name = layout.version >= version_of(3, 12) ? "_scheduled_tasks" : "_all_tasks";
  const auto weak_set = dict ? objects_.item(*dict, name) : std::nullopt;
  const auto set = weak_set ? objects_.attribute(*weak_set, "data") : std::nullopt;
  if (!set || !objects_.is(*set, "set")) return;
  objects_.each_in_set(*set, [&](Address reference) {
    if (!objects_.type_of(reference).starts_with("weakref")) return true;
    const auto task = objects_.memory().pointer(reference + weak_object);
    if (task) read_task(*task, max_frames);
    return tasks.size() < most_tasks && !stop();
  });
}

// TaskObj (Modules/_asynciomodule.c) has different members before these in each version, but always these three in a
// row: task_fut_waiter, task_coro, task_name. The coroutine is the one member of its type.
void Program::read_task(Address address, unsigned max_frames) {
  constexpr std::size_t part = 224;
  Copy copy;
  if (objects_.type_of(address).find("Task") == std::string::npos || !copy.take(objects_.memory(), address, part))
    return;
  for (std::size_t at = 24; at + 16 <= part; at += sizeof(Address)) {
    const Address member = copy.pointer(at);
    if (!member || member % sizeof(Address) || !is_coroutine(objects_.type_of(member))) continue;
    Task task;
    if (!follow(member, max_frames, task)) return;
    // Since 3.12 a number, until somebody asks for the name.
    const Address name = copy.pointer(at + sizeof(Address));
    if (objects_.is(name, "int"))
      task.name.units = "Task-" + std::to_string(objects_.integer(name).value_or(0));
    else
      task.name = objects_.text(name, name_limit).value_or(Text{});
    if (const Address waiter = copy.pointer(at - sizeof(Address)); waiter && !task.running)
      task.waiting_on = last_part(objects_.type_of(waiter));
    tasks.push_back(std::move(task));
    return;
  }
}

// From the coroutine of a task along what each awaits. False: it has ended.
bool Program::follow(Address coroutine, unsigned max_frames, Task& task) {
  const Layout& layout = objects_.layout();
  Memory& memory = objects_.memory();
  std::vector<CodeFrame> frames;  // outermost first
  for (unsigned depth = 0; coroutine && depth < max_frames; ++depth) {
    const std::string type = objects_.type_of(coroutine);
    if (type == "coroutine_wrapper" || type.starts_with("async_generator_a")) {
      coroutine = memory.pointer(coroutine + wrapped).value_or(0);
      continue;
    }
    if (!is_coroutine(type)) break;
    Address frame = coroutine + layout.generator_frame;
    Address awaited = 0;
    bool runs = false;
    if (layout.frames == Frames::objects) {
      frame = memory.pointer(frame).value_or(0);
      if (!frame) break;
      // 3.8, 3.9: f_stacktop, an address, when it is suspended. 3.10: f_stackdepth, and f_valuestack has the address.
      const bool index = layout.version >= version_of(3, 10);
      const auto stack = memory.pointer(frame + layout.frame_locals);
      if (index) {
        const int top = memory.get<int>(frame + layout.frame_stack_top).value_or(0);
        runs = memory.get<signed char>(frame + 108).value_or(1) == executing;  // f_state
        if (!runs && stack && top > 0 && top < 4096)
          awaited = memory.pointer(*stack + static_cast<Address>(top - 1) * sizeof(Address)).value_or(0);
      } else {
        const auto top = memory.pointer(frame + layout.frame_stack_top);
        runs = memory.get<char>(frame + 116).value_or(0) != 0;  // f_executing
        if (!runs && top && stack && *top > *stack) awaited = memory.pointer(*top - sizeof(Address)).value_or(0);
      }
    } else {
      const auto state = memory.get<signed char>(frame - state_before_frame);
      if (!state || *state > executing) break;  // it has ended
      runs = *state == executing;
      const int top = memory.get<int>(frame + layout.frame_stack_top).value_or(0);
      if (!runs && top > 0 && top < 4096)
        awaited =
            memory.pointer(frame + layout.frame_locals + static_cast<Address>(top - 1) * sizeof(Address)).value_or(0);
    }
    const std::optional<CodeFrame> own = walk_.frame(frame);
    if (!own) break;
    frames.push_back(*own);
    if (runs) {
      task.running = true;
      break;
    }
    coroutine = awaited;
  }
  task.chain.truncated = frames.size() >= max_frames;
  std::ranges::reverse(frames);
  task.chain.frames = std::move(frames);
  return !task.chain.frames.empty();
}

}  // namespace stack::python
