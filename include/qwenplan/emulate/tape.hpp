#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <utility>
#include <vector>

#include "qwenplan/base/quantity.hpp"
#include "qwenplan/describe/dtype.hpp"
#include "qwenplan/emulate/trace.hpp"

namespace qwenplan::emulate {

class Tape;

/// A tensor without values: so many elements of a format, and a share of a storage. The storage is
/// freed when its last share goes. Views are copies of the handle: they share.
class Tensor {
 public:
  Tensor() = default;
  Tensor(const Tensor& other);
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(const Tensor& other);
  Tensor& operator=(Tensor&& other) noexcept;
  ~Tensor() { reset(); }

  void reset();
  explicit operator bool() const { return tape_ != nullptr; }

  std::int64_t elements() const { return elements_; }
  DType dtype() const { return dtype_; }
  std::uint32_t storage() const { return storage_; }
  /// The node that made it, a code of a leaf, or `kNone`.
  std::int32_t node() const { return node_; }
  bool requires_grad() const { return node_ != kNone; }
  /// The same storage seen with another number of elements.
  Tensor viewed(std::int64_t elements) const {
    Tensor view(*this);
    view.elements_ = elements;
    return view;
  }
  /// The same storage outside the graph.
  Tensor detached() const {
    Tensor view(*this);
    view.node_ = kNone;
    return view;
  }

  static constexpr std::int32_t kNone = -1;

 private:
  friend class Tape;
  Tape* tape_ = nullptr;
  std::int64_t elements_ = 0;
  std::uint32_t storage_ = 0;
  std::int32_t node_ = kNone;
  DType dtype_ = DType::fp32;
};

/// A leaf of the graph: a weight, or an input that was told to require a gradient.
struct Leaf {
  Tensor value;
  Tensor grad;
  Tensor arriving;           ///< contributions of this backward pass, until all have come
  std::int32_t expected = 0; ///< uses in the forward whose contributions are still to come
  bool trainable = false;
  std::int64_t columns = 0;   ///< size of its last dimension; 0: it is a vector
  std::int64_t matrices = 1;  ///< how many such matrices it holds: the product of the leading dimensions
  bool turns_gradient = false;  ///< its gradient comes in another memory order, and is copied to stay
};

/// One operation in the graph: what its backward needs, and where its gradients go.
struct Node {
  using Backward = void (*)(Tape& tape, const Node& node, const Tensor& grad, Tensor* out);
  static constexpr int kInputs = 5;

  Backward backward = nullptr;
  const void* context = nullptr;              ///< what its backward was told to look at
  std::int64_t size[3] = {0, 0, 0};           ///< sizes that the operation's backward wants to know
  std::int64_t input_elements[kInputs] = {};  ///< shapes that its gradients must be summed to
  std::int32_t input[kInputs] = {Tensor::kNone, Tensor::kNone, Tensor::kNone, Tensor::kNone, Tensor::kNone};
  DType input_dtype[kInputs] = {};
  std::uint32_t first_saved = 0;
  std::uint16_t saved = 0;
  Term term = Term::temporary;  ///< of what its backward allocates
  bool leaves_last = false;     ///< its weight is reached through a view made before the input's
  Section section = Section::layers;  ///< that its backward works for
  std::uint32_t parts = 0;      ///< gradients of so many parts are still to come, to be concatenated, not added
  bool joins = false;           ///< its gradient is the concatenation of its parts'
  bool collects = false;        ///< it has several outputs, whose gradients are kept apart
  std::int32_t frame = -1;      ///< checkpoint that saved nothing and must run again first
  // The gradient of its output, as a share of a storage while `has_grad`.
  bool has_grad = false;
  DType grad_dtype = DType::fp32;
  std::uint32_t grad_storage = 0;
  std::int64_t grad_elements = 0;
};

/// Memory and autograd of one training process: every allocation and free goes to the trace.
///
/// Backward runs the nodes in falling order of creation. That is PyTorch's own order: its ready
/// queue takes the highest sequence number first, and a node's consumers always have higher ones.
class Tape {
 public:
  enum class Mode : std::uint8_t {
    silent,     ///< no_grad: nothing is recorded
    record,     ///< the graph is built and tensors are saved
    frame,      ///< checkpointed forward: the graph is built, what it would save is not kept
    recompute,  ///< a checkpointed forward runs again: fills what the frame did not keep
  };

  Tape() = default;  ///< read by no one
  explicit Tape(TraceReader& reader)
      : reader_(&reader), tells_work_(reader.wants_work()), tells_every_pass_(reader.wants_every_pass()) {
    nodes_.reserve(4096);  // the graph of most models, whose growth would be copied several times
  }
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  void enter(Phase phase, int step, int micro_step);
  /// Whether the reader wants no more of the run.
  bool is_read_enough() {
    flush();
    return reader_ != nullptr && reader_->has_enough();
  }
  /// Tells the reader what it was not told yet.
  void flush() {
    if (reader_ != nullptr && waiting_ > 0) reader_->read({events_, waiting_});
    if (keeps_) kept_events_.insert(kept_events_.end(), events_, events_ + waiting_);
    events_before_ += waiting_;
    waiting_ = 0;
  }
  /// Tells the reader the rest. What is freed from here on, no one is told.
  void finish() {
    flush();
    reader_ = nullptr;
    tells_work_ = false;
  }

  /// Keeps what is told from here on, so that a later step can be told again.
  void keep_steps() {
    flush();
    keeps_ = true;
    kept_events_.reserve(std::size_t{1} << 15);
  }
  /// Ends a step that was kept up to its optimizer: what it made and left behind is the later
  /// steps' too, and not made again.
  void end_kept_steps();
  /// Tells the kept forward and backward passes again, as of another step, and gives the parameters
  /// the gradients that these leave; false if the reader had enough of it.
  bool repeat_steps(int step);

  /// Runs a loop whose passes are all alike, and keep nothing of what they allocate.
  template <class Pass>
  void repeat(std::int64_t passes, Pass&& pass) {
    constexpr std::int64_t kUntilSteady = 3;
    if (!tells_every_pass_) passes = std::min(passes, kUntilSteady);
    for (; passes > 0; --passes) pass();
  }

  /// What following allocations are for.
  Term term() const { return term_; }
  void set_term(Term term) { term_ = term; }

  Tensor allocate(std::int64_t elements, DType dtype);
  Tensor allocate(std::int64_t elements, DType dtype, Term term);
  /// Bytes that a kernel takes and gives back within one call.
  void use_workspace(std::int64_t bytes);
  /// cuBLAS keeps a workspace for each of its handles, and a handle is a thread's: the forward's
  /// first product takes one, and the first of backward, which has its own thread, another.
  void use_matmul() {
    Tensor& workspace = matmul_workspace_[in_backward_ ? 1 : 0];
    if (!workspace && matmul_workspace_bytes_ > 0)
      workspace = allocate(matmul_workspace_bytes_, DType::uint8, Term::workspace);
  }

  // Work, for readers that want it. An allocation is taken for one kernel that writes it: forward it
  // reads the inputs that its operation recorded, backward the gradient and what was saved. Only
  // what is something else is told, before the allocation of its result.

  /// The next `outputs` allocations are the result of this.
  void compute(const Work& work, int outputs = 1) {
    if (!tells_work_ || stopped_) return;
    tell_work(work);
    told_ = outputs;
  }
  /// The next allocation is a matrix product, [rows, inner] x [inner, columns], `count` times. With no
  /// outputs, one into memory that is there already.
  void multiply(std::int64_t rows, std::int64_t inner, std::int64_t columns, DType dtype, std::int64_t count = 1,
                int outputs = 1) {
    if (!tells_work_ || stopped_) return;
    using S = Saturating;
    const std::int64_t elements =
        S::add(S::multiply(rows, inner), S::add(S::multiply(inner, columns), S::multiply(rows, columns)));
    const std::int64_t bytes = S::multiply(S::multiply(elements, count), element_size(dtype));
    compute({rows, inner, columns, count, bytes, 1, Work::Kind::matmul, dtype, 1}, outputs);
  }
  /// The next allocation reads so many bytes, not its operation's whole inputs.
  void reads(std::int64_t bytes) {
    if (tells_work_) reads_ = bytes;
  }
  /// Kernels that stream bytes and allocate nothing: work in place.
  void touch(std::int64_t bytes, int launches = 1) {
    if (!tells_work_ || stopped_) return;
    Work work;
    work.bytes = bytes;
    work.launches = launches;
    tell_work(work);
  }
  /// The host asks for a value that the device computes, and launches nothing until it has it.
  void wait() {
    if (!tells_work_ || stopped_) return;
    Work work;
    work.launches = 0;
    work.waits = true;
    tell_work(work);
  }
  /// Names the part of the model that work belongs to while it lives; backward follows.
  class InSection {
   public:
    InSection(Tape& tape, Section section) : tape_(tape), before_(std::exchange(tape.section_, section)) {}
    InSection(const InSection&) = delete;
    InSection& operator=(const InSection&) = delete;
    ~InSection() { tape_.section_ = before_; }

   private:
    Tape& tape_;
    Section before_;
  };

  void set_matmul_workspace(std::int64_t bytes) { matmul_workspace_bytes_ = bytes; }
  void retag(const Tensor& tensor, Term term);
  void empty_cache() { tell({0, 0, Event::Kind::empty_cache, Term::temporary}); }

  /// Makes a trainable weight: a leaf whose gradient stays until it is cleared.
  Tensor parameter(Tensor value, std::int64_t columns = 0, std::int64_t matrices = 1);
  /// A weight's data in another format: `param.data = param.data.to(dtype)`. It stays the same leaf.
  Tensor recast(Tensor weight, DType dtype);
  /// Tells an input to require a gradient, as `enable_input_require_grads` does.
  Tensor require_grad(Tensor value);
  bool is_parameter(const Tensor& tensor) const {
    return tensor.node() <= leaf_code(0) && tensor.node() != kTracked && leaves_[leaf_index(tensor.node())].trainable;
  }
  /// Whether it is a parameter that is trained, or an input that was told to require a gradient.
  bool is_leaf(const Tensor& tensor) const {
    return tensor.node() <= leaf_code(0) && tensor.node() != kTracked && tensor.requires_grad();
  }
  /// The place of a leaf in `leaves()`.
  std::size_t leaf_number(const Tensor& tensor) const { return leaf_index(tensor.node()); }
  std::vector<Leaf>& leaves() { return leaves_; }

  Mode mode() const { return mode_; }
  /// torch.no_grad, between its beginning and its end.
  class WithoutGraph {
   public:
    explicit WithoutGraph(Tape& tape) : tape_(tape), before_(tape.mode_) { tape.mode_ = Mode::silent; }
    WithoutGraph(const WithoutGraph&) = delete;
    WithoutGraph& operator=(const WithoutGraph&) = delete;
    ~WithoutGraph() { tape_.mode_ = before_; }

   private:
    Tape& tape_;
    Mode before_;
  };
  /// True once a recomputation has refilled its frame: PyTorch leaves it by an exception.
  bool stopped() const { return stopped_; }

  /// What runs without a graph while this lives: torch.no_grad, the inside of an autograd function.
  class NoGrad {
   public:
    explicit NoGrad(Tape& tape) : tape_(tape), before_(std::exchange(tape.mode_, Mode::silent)) {}
    NoGrad(const NoGrad&) = delete;
    NoGrad& operator=(const NoGrad&) = delete;
    ~NoGrad() { tape_.mode_ = before_; }

   private:
    Tape& tape_;
    Mode before_;
  };

  class Recording;
  /// Whether an operation has a node although no listed input asks for a gradient.
  enum class Required : std::uint8_t { by_inputs, yes };
  /// Begins an operation: its node, if any input requires a gradient and the mode records.
  Recording record(Node::Backward backward, std::initializer_list<const Tensor*> inputs,
                   Required required = Required::by_inputs);
  /// From the backward of a node with several outputs: their gradients are used up.
  void forget_collected() { collected_.clear(); }
  /// From a backward: the gradient of a weight that the node reaches beside its inputs.
  void give_gradient(const Tensor& leaf, Tensor grad) { given_.push_back({leaf.node(), std::move(grad)}); }

  /// A saved tensor of a node, by the order in which it was saved.
  Tensor saved(const Node& node, int index) const;
  /// Lets go of what a checkpointed node unpacked, before its backward is through.
  void release_unpacked(const Node& node) {
    if (node.frame >= 0) let_go(const_cast<Node&>(node));
  }

  /// Runs backward from a loss.
  void backward(const Tensor& loss);
  /// Forgets the graph: its unexecuted rest gives back what it holds, and so do inputs' gradients.
  void forget();
  /// What the graph's nodes hold as attributes: its caller's, if it keeps the graph's end by a name.
  std::vector<Tensor> take_held() {
    std::vector<Tensor> taken;
    for (auto& held : held_) taken.push_back(std::move(held.second));
    held_.clear();
    return taken;
  }

  /// What is checkpointed: runs a layer on its arguments, the input first.
  struct Layers {
    virtual Tensor run(Tape& tape, std::int32_t layer, const std::vector<Tensor>& arguments) = 0;
    virtual Tensor run_again(Tape& tape, std::int32_t layer, const std::vector<Tensor>& arguments) = 0;
    /// A layer that ran again has had its backward.
    virtual void finish_again() {}
    virtual ~Layers() = default;
  };
  /// Non-reentrant checkpointing: the graph is built, but what it would save is dropped. Backward
  /// runs the layer again at the first tensor that it misses, up to the last one.
  Tensor checkpoint(Layers& layers, std::int32_t layer, std::vector<Tensor> arguments);
  /// Where a checkpoint keeps a layer's input until backward.
  enum class Keep : std::uint8_t { on_device, on_host };
  /// Reentrant checkpointing: forward without a graph; backward builds one of its own and runs it. With
  /// a buffer, the layer's input waits on the host and comes back into that.
  Tensor checkpoint_reentrant(Layers& layers, std::int32_t layer, const std::vector<Tensor>& arguments,
                              Keep keep = Keep::on_device, const Tensor& buffer = {});

  /// How tensors that are saved for backward wait in host memory (TRL's OffloadActivations, after
  /// torchtune's): not at all; copied on a stream of its own, which holds the last of them and those
  /// that come back a while longer, each tensor once or, torchtune's, as often as it is saved; or copied
  /// at once.
  enum class Offload : std::uint8_t { none, with_streams, each_with_streams, at_once };
  bool has_offload_stream() const {
    return offload_ == Offload::with_streams || offload_ == Offload::each_with_streams;
  }
  void set_offload(Offload offload) { offload_ = offload; }
  /// What is saved while it lives stays on the device.
  class WithoutOffload {
   public:
    explicit WithoutOffload(Tape& tape) : tape_(tape), before_(std::exchange(tape.offload_, Offload::none)) {}
    WithoutOffload(const WithoutOffload&) = delete;
    WithoutOffload& operator=(const WithoutOffload&) = delete;
    ~WithoutOffload() { tape_.offload_ = before_; }

   private:
    Tape& tape_;
    Offload before_;
  };

  /// Who is told that a weight's gradient is complete, as register_post_accumulate_grad_hook does.
  struct GradientHook {
    virtual void gradient_arrived(Tape& tape, std::size_t leaf) = 0;
    virtual ~GradientHook() = default;
  };
  void set_gradient_hook(GradientHook* hook) { gradient_hook_ = hook; }

 private:
  friend class Tensor;
  struct Storage {
    std::int64_t bytes;
    std::int32_t shares;
    std::int32_t kept;  ///< which of the kept events made it, or kNotKept
    Term term;
  };
  static constexpr std::int32_t kNotKept = -1;
  static constexpr std::int64_t kMadeOnce = -1;  ///< the bytes of a kept event that is not told again
  struct KeptGrad {
    std::size_t leaf;
    std::int64_t elements;
    DType dtype;
    std::int32_t event;  ///< that made it
  };
  struct Saved {
    std::int64_t elements = 0;
    std::uint32_t storage = 0;
    std::int32_t node = Tensor::kNone;
    DType dtype = DType::fp32;
    bool held = false;
    bool is_hooked = false;  ///< it goes through offloading's hooks, whether it stays or not
    std::int32_t sent = 0;   ///< number of the save, if it waits in host memory
  };
  /// A saved tensor on its way to the host.
  struct OnTheWay {
    std::int32_t number;
    Tensor tensor;
  };
  struct Frame {
    std::uint32_t first_saved = 0, end_saved = 0, left = 0;
    std::int32_t layer = 0;
    bool done = false;
    Layers* layers = nullptr;
    Section section = Section::layers;
    Term term = Term::activations;
    std::vector<Tensor> arguments;
    Saved input;  ///< the first of the arguments, if it waits in host memory
  };

  static std::int32_t leaf_code(std::size_t index) { return -2 - static_cast<std::int32_t>(index); }
  static std::size_t leaf_index(std::int32_t code) { return static_cast<std::size_t>(-2 - code); }

  void tell(const Event& event) {
    events_[waiting_++] = event;
    if (waiting_ == kStretch) flush();
  }
  void tell_work(Work work) {
    work.recomputes = recomputes_;
    work.section = section_;
    reader_->work(work);
  }
  /// An allocation that nothing was told about: one kernel.
  void tell_allocation(std::int64_t bytes) {
    if (told_ > 0) --told_;
    else touch(Saturating::add(bytes, reads_ >= 0 ? reads_ : bytes));
    reads_ = backward_reads_;
  }
  /// Cut as storages are, so that sums stay within 63 bits.
  static std::int64_t bytes_of(const Tensor& tensor) {
    if (!tensor) return 0;
    return std::min(Saturating::multiply(tensor.elements(), element_size(tensor.dtype())), kLargest);
  }
  std::int64_t bytes_read_by(const Node& node, const Tensor& grad) const;
  void share(std::uint32_t storage) { ++storages_[storage].shares; }
  void release(std::uint32_t storage);
  void keep(const Tensor& tensor);
  void skip(const Tensor& tensor);
  void let_go(Node& node);
  std::int32_t send(const Tensor& tensor);
  Tensor bring_back(const Saved& entry);
  void bring_back_saved(Node& node);
  void let_go_of_hooked(Node& node);
  void arrive(std::int32_t to, Tensor&& output);
  Tensor joined(std::int32_t node);
  void execute(std::size_t index);
  void sweep(std::int32_t from, std::size_t base);
  void forget_from(std::size_t base);
  void refill(Frame& frame);
  static void reentrant_backward(Tape& tape, const Node& node, const Tensor& grad, Tensor* out);

  /// A name for a storage that is not in use.
  std::uint32_t name_storage(std::int64_t bytes, Term term) {
    const std::int32_t kept =
        keeps_ ? static_cast<std::int32_t>(kept_events_.size() + waiting_) : kNotKept;
    if (free_names_.empty()) {
      storages_.push_back({bytes, 1, kept, term});
      return static_cast<std::uint32_t>(storages_.size() - 1);
    }
    const std::uint32_t name = free_names_.back();
    free_names_.pop_back();
    storages_[name] = {bytes, 1, kept, term};
    return name;
  }

  static constexpr std::size_t kStretch = 1024;

  TraceReader* reader_ = nullptr;
  std::size_t events_before_ = 0;  ///< of the stretches that were told
  std::size_t waiting_ = 0;           ///< events of this stretch that wait for the reader
  Event events_[kStretch];
  std::vector<Storage> storages_;  // before every handle: their shares go back to it
  std::vector<std::uint32_t> free_names_;
  std::vector<Node> nodes_;
  std::vector<Saved> saved_;
  std::vector<Leaf> leaves_;
  std::vector<std::pair<std::int32_t, Tensor>> held_;  ///< by rising number of the node
  std::vector<Tensor> held_again_;
  std::vector<std::pair<std::int32_t, Tensor>> parts_;  ///< gradients that wait to be concatenated, by node
  std::vector<std::pair<std::int32_t, Tensor>> given_;  ///< by the backward that is running
  std::vector<Tensor> collected_;  ///< gradients of a node with several outputs, until it runs
  std::vector<Frame> frames_;
  GradientHook* gradient_hook_ = nullptr;
  Offload offload_ = Offload::none;
  std::int32_t saves_ = 0;            ///< of this step, while tensors are offloaded
  std::vector<OnTheWay> on_the_way_;  ///< by rising number
  std::vector<Tensor> returned_;      ///< and held until the next node that something came back for
  std::vector<Tensor> remembered_;    ///< inputs and their gradients, by the last node that the hooks saw
  bool has_returned_ = false;         ///< something came back for the node that runs
  std::size_t cursor_ = 0, cursor_end_ = 0;  ///< where a recomputation puts what it saves
  std::int32_t frame_ = -1;
  std::uint32_t dropped_ = 0;  ///< of the frame that is recorded: saved by nodes that are gone before backward
  Mode mode_ = Mode::record;
  Term term_ = Term::temporary;
  bool stopped_ = false;
  bool in_backward_ = false;
  bool tells_work_ = false;
  bool tells_every_pass_ = true;
  bool recomputes_ = false;
  Section section_ = Section::layers;
  int told_ = 0;                      ///< allocations whose work was told before them
  std::int64_t reads_ = -1;           ///< what the next allocation's kernel reads; below 0: as much as it writes
  std::int64_t backward_reads_ = -1;  ///< what each kernel of the node that runs reads
  bool keeps_ = false;
  std::vector<Event> kept_events_;
  std::vector<Mark> kept_marks_;
  std::vector<KeptGrad> kept_grads_;
  std::int64_t matmul_workspace_bytes_ = 0;
  Tensor matmul_workspace_[2];

  /// A handle in a recomputation that requires a gradient but has no node of its own.
  static constexpr std::int32_t kTracked = INT32_MIN;

  /// Sizes beyond this are cut: 64 TiB exceeds every card, and 2^17 of them still add up in 63 bits.
  static constexpr std::int64_t kLargest = std::int64_t{1} << 46;
};

/// An operation between its beginning and its result.
class Tape::Recording {
 public:
  /// Keeps a tensor for backward, as the operation's own code does, in its order.
  Recording& save(const Tensor& tensor) {
    if (tape_ != nullptr) tape_->keep(tensor), ++saved_;
    return *this;
  }
  /// Saves a tensor for a result that nobody takes a gradient of. Its node is gone before backward, but
  /// checkpointing still counts the tensor where it looks for the last one to make again.
  Recording& drop(const Tensor& tensor) {
    if (tape_ != nullptr) tape_->skip(tensor);
    return *this;
  }
  /// Holds a tensor as an attribute of the node, out of sight of checkpointing's hooks: it lives
  /// until the node is gone.
  Recording& hold(const Tensor& tensor) {
    if (tape_ == nullptr) return *this;
    if (index_ >= 0) tape_->held_.push_back({index_, tensor.detached()});
    else tape_->held_again_.push_back(tensor.detached());  // by a graph that ends with the recomputation
    return *this;
  }
  Recording& sizes(std::int64_t a, std::int64_t b = 0, std::int64_t c = 0) {
    if (index_ >= 0) {
      Node& node = tape_->nodes_[static_cast<std::size_t>(index_)];
      node.size[0] = a, node.size[1] = b, node.size[2] = c;
    }
    return *this;
  }
  Recording& context(const void* context) {
    if (index_ >= 0) tape_->nodes_[static_cast<std::size_t>(index_)].context = context;
    return *this;
  }
  Recording& reaches_leaves_last() {
    if (index_ >= 0) tape_->nodes_[static_cast<std::size_t>(index_)].leaves_last = true;
    return *this;
  }
  /// A weight beside the inputs whose gradient the backward gives.
  Recording& reaches(const Tensor& leaf) {
    if (index_ >= 0) ++tape_->leaves_[leaf_index(leaf.node())].expected;
    return *this;
  }
  Recording& collects_gradients() {
    if (index_ >= 0) tape_->nodes_[static_cast<std::size_t>(index_)].collects = true;
    return *this;
  }
  /// Its results are parts of one tensor (split, chunk).
  Recording& joins_parts(std::int64_t parts) {
    if (index_ < 0) return *this;
    Node& node = tape_->nodes_[static_cast<std::size_t>(index_)];
    node.joins = true;
    node.parts = static_cast<std::uint32_t>(parts);
    return *this;
  }
  /// The output, which now knows the node that made it.
  Tensor result(Tensor output) {
    if (tape_ != nullptr) output.node_ = index_ >= 0 ? index_ : kTracked;
    if (index_ >= 0) tape_->nodes_[static_cast<std::size_t>(index_)].saved = saved_;
    return output;
  }
  bool active() const { return tape_ != nullptr; }

 private:
  friend class Tape;
  Tape* tape_ = nullptr;  ///< null: nothing is recorded
  std::int32_t index_ = -1;
  std::uint16_t saved_ = 0;
};

// ---- Tensor

inline Tensor::Tensor(const Tensor& other)
    : tape_(other.tape_), elements_(other.elements_), storage_(other.storage_), node_(other.node_), dtype_(other.dtype_) {
  if (tape_ != nullptr) tape_->share(storage_);
}
inline Tensor::Tensor(Tensor&& other) noexcept
    : tape_(std::exchange(other.tape_, nullptr)), elements_(other.elements_), storage_(other.storage_),
      node_(other.node_), dtype_(other.dtype_) {}
inline Tensor& Tensor::operator=(const Tensor& other) {
  Tensor copy(other);
  return *this = std::move(copy);
}
inline Tensor& Tensor::operator=(Tensor&& other) noexcept {
  // The new value is there before the old one goes, as when a Python name is bound again.
  Tape* old_tape = tape_;
  const std::uint32_t old_storage = storage_;
  tape_ = std::exchange(other.tape_, nullptr);
  elements_ = other.elements_, storage_ = other.storage_, node_ = other.node_, dtype_ = other.dtype_;
  if (old_tape != nullptr) old_tape->release(old_storage);
  return *this;
}
inline void Tensor::reset() {
  if (tape_ != nullptr) std::exchange(tape_, nullptr)->release(storage_);
}

// ---- Tape: memory

inline void Tape::enter(Phase phase, int step, int micro_step) {
  flush();
  if (reader_ == nullptr) return;
  if (keeps_)  // after the flush, so that nothing waits
    kept_marks_.push_back({static_cast<std::uint32_t>(kept_events_.size()), phase, 0,
                           static_cast<std::int16_t>(micro_step)});
  reader_->enter({static_cast<std::uint32_t>(events_before_), phase, static_cast<std::int16_t>(step),
                  static_cast<std::int16_t>(micro_step)});
}

inline void Tape::end_kept_steps() {
  flush();
  keeps_ = false;
  for (std::size_t i = 0; i < leaves_.size(); ++i)
    if (const Tensor& grad = leaves_[i].grad) {
      std::int32_t& kept = storages_[grad.storage_].kept;
      kept_grads_.push_back({i, grad.elements_, grad.dtype_, std::exchange(kept, kNotKept)});
    }
  for (const Storage& storage : storages_)
    if (storage.shares > 0 && storage.kept != kNotKept)
      kept_events_[static_cast<std::size_t>(storage.kept)].bytes = kMadeOnce;
}

inline bool Tape::repeat_steps(int step) {
  constexpr std::uint32_t kNoName = UINT32_MAX;
  // What storages of the kept steps are called now; those that are older, or made once, have no name.
  std::vector<std::uint32_t> names(storages_.size(), kNoName);
  auto mark = kept_marks_.begin();
  for (std::size_t i = 0; i < kept_events_.size(); ++i) {
    for (; mark != kept_marks_.end() && mark->first == i; ++mark) {
      if (is_read_enough()) return false;
      enter(mark->phase, step, mark->micro_step);
    }
    Event event = kept_events_[i];
    if (event.kind != Event::Kind::empty_cache) {
      std::uint32_t& name = names[event.storage];
      if (event.kind == Event::Kind::allocate)
        name = event.bytes == kMadeOnce ? kNoName : name_storage(event.bytes, event.term);
      if (name == kNoName) continue;
      event.storage = name;
      if (event.kind == Event::Kind::retag) storages_[name].term = event.term;
      if (event.kind == Event::Kind::free) {
        storages_[name].shares = 0;
        free_names_.push_back(std::exchange(name, kNoName));
      }
    }
    tell(event);
  }
  for (const KeptGrad& kept : kept_grads_) {
    Tensor& grad = leaves_[kept.leaf].grad;
    grad.tape_ = this;
    grad.elements_ = kept.elements;
    grad.dtype_ = kept.dtype;
    grad.storage_ = names[kept_events_[static_cast<std::size_t>(kept.event)].storage];
  }
  return true;
}

inline Tensor Tape::allocate(std::int64_t elements, DType dtype, Term term) {
  if (stopped_ || elements == 0) return {};
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(elements, element_size(dtype), &bytes) || bytes > kLargest) bytes = kLargest;
  Tensor tensor;
  tensor.tape_ = this;
  tensor.elements_ = elements;
  tensor.dtype_ = dtype;
  tensor.storage_ = name_storage(bytes, term);
  tell({bytes, tensor.storage_, Event::Kind::allocate, term});
  if (tells_work_ && term != Term::workspace) tell_allocation(bytes);
  return tensor;
}

inline Tensor Tape::allocate(std::int64_t elements, DType dtype) { return allocate(elements, dtype, term_); }

inline void Tape::use_workspace(std::int64_t bytes) {
  if (bytes > 0) allocate(bytes, DType::uint8, Term::workspace);
}

inline void Tape::retag(const Tensor& tensor, Term term) {
  Storage& storage = storages_[tensor.storage()];
  if (storage.term == term) return;
  storage.term = term;
  tell({storage.bytes, tensor.storage(), Event::Kind::retag, term});
}

inline void Tape::release(std::uint32_t index) {
  Storage& storage = storages_[index];
  if (--storage.shares > 0) return;
  tell({storage.bytes, index, Event::Kind::free, storage.term});
  free_names_.push_back(index);
}

inline Tensor Tape::parameter(Tensor value, std::int64_t columns, std::int64_t matrices) {
  value.node_ = leaf_code(leaves_.size());
  leaves_.push_back({value, {}, {}, 0, true, columns, matrices, false});
  return value;
}

inline Tensor Tape::recast(Tensor weight, DType dtype) {
  Tensor cast = allocate(weight.elements(), dtype, storages_[weight.storage_].term);
  cast.node_ = weight.node_;
  if (is_parameter(weight)) leaves_[leaf_index(weight.node_)].value = cast;
  return cast;
}

inline Tensor Tape::require_grad(Tensor value) {
  value.node_ = leaf_code(leaves_.size());
  leaves_.push_back({value, {}, {}, 0, false, 0, 1});  // its node in the graph holds it to the end of backward
  return value;
}

// ---- Tape: graph

inline Tape::Recording Tape::record(Node::Backward formula, std::initializer_list<const Tensor*> inputs,
                                    Required is_required) {
  Recording recording;
  if (tells_work_) {
    told_ = 0;
    reads_ = 0;
    for (const Tensor* input : inputs) reads_ += bytes_of(*input);
  }
  if (mode_ == Mode::silent || stopped_) return recording;
  bool required = is_required == Required::yes;
  for (const Tensor* input : inputs) required = required || (*input && input->requires_grad());
  if (!required) return recording;
  recording.tape_ = this;
  if (mode_ == Mode::recompute) return recording;

  recording.index_ = static_cast<std::int32_t>(nodes_.size());
  Node& node = nodes_.emplace_back();
  node.backward = formula;
  node.first_saved = static_cast<std::uint32_t>(saved_.size());
  node.term = term_ == Term::logits ? Term::logits : Term::temporary;
  node.section = section_;
  node.frame = frame_;
  int i = 0;
  for (const Tensor* input : inputs) {
    node.input[i] = *input ? input->node() : Tensor::kNone;
    node.input_elements[i] = input->elements();
    node.input_dtype[i] = input->dtype();
    if (node.input[i] <= leaf_code(0) && node.input[i] != kTracked)
      ++leaves_[leaf_index(node.input[i])].expected;
    ++i;
  }
  return recording;
}

inline void Tape::keep(const Tensor& tensor) {
  if (mode_ == Mode::frame) {
    saved_.emplace_back();
    return;
  }
  Saved entry;
  entry.elements = tensor.elements();
  entry.storage = tensor.storage();
  entry.node = tensor.node();
  entry.dtype = tensor.dtype();
  entry.held = static_cast<bool>(tensor);
  if (mode_ == Mode::recompute) {
    if (stopped_) return;
    if (entry.held) share(entry.storage);
    saved_[cursor_] = entry;
    stopped_ = ++cursor_ == cursor_end_;
    return;
  }
  entry.is_hooked = offload_ != Offload::none;
  entry.sent = send(tensor);
  if (entry.sent != 0) entry.held = false;
  if (entry.held) share(entry.storage);
  saved_.push_back(entry);
}

/// OffloadActivations.pack_tensor: what is small, or the model's own, stays; so does what is on its way
/// already. Returns the number of the save, or 0 where it stays.
inline std::int32_t Tape::send(const Tensor& tensor) {
  constexpr std::int64_t kSmallest = 1024;
  constexpr std::int32_t kMostOnTheWay = 5;
  if (offload_ == Offload::none || !tensor) return 0;
  ++saves_;
  const Term term = storages_[tensor.storage()].term;
  if (bytes_of(tensor) < kSmallest || term == Term::weights || term == Term::quantization ||
      term == Term::adapters || term == Term::buffers)
    return 0;
  // A part of a storage is copied, so that it is contiguous.
  const bool is_part = bytes_of(tensor) < storages_[tensor.storage()].bytes;
  const auto whole = [&] { return is_part ? allocate(tensor.elements(), tensor.dtype()) : tensor.detached(); };
  if (offload_ == Offload::at_once) {
    const Tensor copy = whole();
    return saves_;
  }
  const bool is_each = offload_ == Offload::each_with_streams;
  for (const OnTheWay& sent : on_the_way_)
    if (!is_each && sent.tensor.storage() == tensor.storage()) return 0;
  Tensor copy = is_each ? tensor.detached() : whole();
  std::erase_if(on_the_way_, [&](const OnTheWay& sent) { return sent.number <= saves_ - kMostOnTheWay; });
  on_the_way_.push_back({saves_, std::move(copy)});
  return saves_;
}

/// What was still on its way is taken from there.
inline Tensor Tape::bring_back(const Saved& entry) {
  has_returned_ = true;
  remembered_.clear();
  for (const OnTheWay& sent : on_the_way_)
    if (sent.number == entry.sent) return sent.tensor.viewed(entry.elements);
  Tensor tensor = allocate(entry.elements, entry.dtype, Term::activations);
  if (has_offload_stream()) returned_.push_back(tensor);
  return tensor;
}

inline void Tape::bring_back_saved(Node& node) {
  for (std::uint32_t i = node.first_saved; i < node.first_saved + node.saved; ++i) {
    Saved& entry = saved_[i];
    if (entry.sent == 0) continue;
    const Tensor tensor = bring_back(entry);
    entry.storage = tensor.storage();
    entry.held = true;
    share(entry.storage);
  }
}

/// A function's own handles of what the hooks gave it go when it returns.
inline void Tape::let_go_of_hooked(Node& node) {
  for (std::uint32_t i = node.first_saved; i < node.first_saved + node.saved; ++i)
    if (saved_[i].is_hooked && std::exchange(saved_[i].held, false)) release(saved_[i].storage);
}

inline void Tape::skip(const Tensor& tensor) {
  if (mode_ == Mode::frame) saved_.emplace_back(), ++dropped_;
  if (mode_ != Mode::recompute || stopped_) return;
  held_again_.push_back(tensor.detached());
  stopped_ = ++cursor_ == cursor_end_;
}

inline Tensor Tape::saved(const Node& node, int index) const {
  const Saved& entry = saved_[node.first_saved + static_cast<std::uint32_t>(index)];
  Tensor tensor;
  if (!entry.held) return tensor;
  Tape* self = const_cast<Tape*>(this);  // a handle shares; the tape itself does not change
  self->share(entry.storage);
  tensor.tape_ = self;
  tensor.elements_ = entry.elements;
  tensor.storage_ = entry.storage;
  tensor.dtype_ = entry.dtype;
  return tensor;
}

inline void Tape::let_go(Node& node) {
  for (std::uint32_t i = node.first_saved; i < node.first_saved + node.saved; ++i) {
    Saved& entry = saved_[i];
    if (std::exchange(entry.held, false)) release(entry.storage);
  }
  if (node.frame >= 0 && node.saved > 0) {
    Frame& frame = frames_[static_cast<std::size_t>(node.frame)];
    frame.left -= node.saved;
    if (frame.left == 0) frame.arguments.clear();
  }
  node.saved = 0;
}

inline void Tape::arrive(std::int32_t to, Tensor&& output) {
  if (to == Tensor::kNone || !output) return;
  Tensor grad;  // what is only added to a sum stays with its node until that is through
  if (to >= 0) {
    Node& node = nodes_[static_cast<std::size_t>(to)];
    if (node.collects) {
      collected_.push_back(std::move(output));
      node.has_grad = true;
      return;
    }
    if (node.joins) {
      parts_.emplace_back(to, std::move(output));
      node.has_grad = --node.parts == 0;
      return;
    }
    if (node.has_grad) {
      Tensor before;
      before.tape_ = this, before.elements_ = node.grad_elements, before.storage_ = node.grad_storage,
      before.dtype_ = node.grad_dtype;
      reads(bytes_of(before) + bytes_of(output));
      Tensor added = allocate(before.elements(), before.dtype());
      before.reset();
      grad = std::move(added);
    } else {
      grad = std::move(output);
    }
    node.has_grad = true;
    node.grad_dtype = grad.dtype_;
    node.grad_storage = grad.storage_;
    node.grad_elements = grad.elements_;
    grad.tape_ = nullptr;  // the node holds the share now
    return;
  }
  Leaf& leaf = leaves_[leaf_index(to)];
  if (leaf.arriving) {
    reads(2 * bytes_of(output));
    grad = allocate(output.elements(), output.dtype());
    leaf.arriving.reset();
  } else {
    grad = std::move(output);
  }
  if (--leaf.expected > 0) {
    leaf.arriving = std::move(grad);
    return;
  }
  leaf.arriving.reset();
  output.reset();  // by the time that it is accumulated, the node is through
  if (leaf.grad) {  // an earlier micro-step's gradient: added to in place
    touch(bytes_of(grad) + 2 * bytes_of(leaf.grad));
    return;
  }
  if (leaf.turns_gradient) {
    reads(bytes_of(grad));
    leaf.grad = allocate(grad.elements(), grad.dtype());
  } else {
    leaf.grad = std::move(grad);
  }
  leaf.grad.node_ = Tensor::kNone;
  retag(leaf.grad, leaf.trainable ? Term::gradients : Term::temporary);
  if (gradient_hook_ != nullptr && leaf.trainable) gradient_hook_->gradient_arrived(*this, leaf_index(to));
}

/// The gradient, and its share of what was saved: each of several results reads another part.
inline std::int64_t Tape::bytes_read_by(const Node& node, const Tensor& grad) const {
  std::int64_t saved = 0;
  for (std::uint32_t i = node.first_saved; i < node.first_saved + node.saved; ++i)
    if (saved_[i].held)
      saved += std::min(Saturating::multiply(saved_[i].elements, element_size(saved_[i].dtype)), kLargest);
  int results = 0;
  for (const std::int32_t input : node.input) results += input != Tensor::kNone ? 1 : 0;
  return bytes_of(grad) + saved / std::max(1, results);
}

/// The gradients of a node's parts in one tensor.
inline Tensor Tape::joined(std::int32_t node) {
  std::int64_t elements = 0;
  DType dtype = DType::fp32;
  for (const auto& [owner, part] : parts_)
    if (owner == node)
      elements = Saturating::add(elements, part.elements()), dtype = part.dtype();
  reads(Saturating::multiply(elements, element_size(dtype)));
  Tensor whole = allocate(elements, dtype);
  std::erase_if(parts_, [node](const auto& part) { return part.first == node; });
  return whole;
}

inline void Tape::execute(std::size_t index) {
  Node& node = nodes_[index];
  if (!node.has_grad) return;
  Tensor grad;
  node.has_grad = false;
  term_ = node.term;
  if (node.joins) {
    grad = joined(static_cast<std::int32_t>(index));
  } else if (!node.collects) {
    grad.tape_ = this, grad.elements_ = node.grad_elements, grad.storage_ = node.grad_storage,
    grad.dtype_ = node.grad_dtype;
  }

  Tensor out[Node::kInputs];
  const std::size_t returned_before = returned_.size();
  const bool from_frame = node.frame >= 0;
  if (from_frame && node.saved > 0 && !frames_[static_cast<std::size_t>(node.frame)].done)
    refill(frames_[static_cast<std::size_t>(node.frame)]);
  section_ = nodes_[index].section;
  if (offload_ != Offload::none && !from_frame) bring_back_saved(nodes_[index]);
  if (tells_work_) told_ = 0, reads_ = backward_reads_ = bytes_read_by(nodes_[index], grad);
  nodes_[index].backward(*this, nodes_[index], grad, out);
  backward_reads_ = -1;
  Node& done = nodes_[index];  // a reentrant backward may have moved the nodes
  // What a hook unpacks is the caller's and goes with the call; what a node keeps goes last.
  if (from_frame) let_go(done);
  else if (offload_ != Offload::none) let_go_of_hooked(done);
  for (int i = 0; i < Node::kInputs; ++i) {
    if (!out[i]) continue;
    reads(bytes_of(out[i]));
    if (done.input_elements[i] < out[i].elements()) out[i] = allocate(done.input_elements[i], out[i].dtype());
    if (done.input_dtype[i] != out[i].dtype()) out[i] = allocate(out[i].elements(), done.input_dtype[i]);
  }
  if (std::exchange(has_returned_, false)) {
    on_the_way_.clear();
    returned_.erase(returned_.begin(), returned_.begin() + static_cast<std::ptrdiff_t>(returned_before));
  }
  grad.reset();
  if (!from_frame) let_go(done);
  std::int32_t to[Node::kInputs];
  std::copy(std::begin(done.input), std::end(done.input), std::begin(to));
  // A leaf's gradient is accumulated as soon as it is complete, before any other node runs.
  const bool leaves_first = !done.leaves_last;
  for (const bool leaves : {leaves_first, !leaves_first}) {
    // A bias, which no view stands before, is there first.
    for (int n = 0; n < Node::kInputs; ++n)
      if (const int i = leaves ? Node::kInputs - 1 - n : n; (to[i] < Tensor::kNone) == leaves) arrive(to[i], std::move(out[i]));
    if (!leaves)  // the node is through
      for (int i = 0; i < Node::kInputs; ++i)
        if (to[i] >= 0) out[i].reset();
  }
  if (!given_.empty())
    for (auto& [leaf, gradient] : std::exchange(given_, {})) arrive(leaf, std::move(gradient));
}

inline void Tape::sweep(std::int32_t from, std::size_t base) {
  for (auto i = static_cast<std::size_t>(from) + 1; i-- > base;) execute(i);
}

inline void Tape::backward(const Tensor& loss) {
  if (loss.node() < 0) return;
  const Tensor ones = allocate(1, loss.dtype(), Term::temporary);  // the caller keeps it to the end
  arrive(loss.node(), Tensor(ones));
  in_backward_ = true;
  sweep(loss.node(), 0);
  in_backward_ = false;
  returned_.clear();
  on_the_way_.clear();
  saves_ = 0;
  section_ = Section::layers;
}

inline void Tape::forget_from(std::size_t base) {
  std::erase_if(parts_, [base](const auto& part) { return part.first >= static_cast<std::int32_t>(base); });
  while (!held_.empty() && held_.back().first >= static_cast<std::int32_t>(base)) held_.pop_back();
  for (std::size_t i = nodes_.size(); i-- > base;) {
    Node& node = nodes_[i];
    if (std::exchange(node.has_grad, false) && !node.joins && !node.collects) release(node.grad_storage);
    let_go(node);
  }
  nodes_.resize(base);
}

inline void Tape::forget() {
  forget_from(0);
  saved_.clear();
  frames_.clear();
  while (!leaves_.empty() && !leaves_.back().trainable) {
    // OffloadActivations remembers the node that it last worked for, and that node its inputs.
    if (has_offload_stream())
      for (Tensor* const tensor : {&leaves_.back().value, &leaves_.back().grad})
        remembered_.push_back(std::move(*tensor));
    leaves_.pop_back();
  }
  for (Leaf& leaf : leaves_) leaf.expected = 0;
}

// ---- Tape: checkpointing

inline Tensor Tape::checkpoint(Layers& layers, std::int32_t layer, std::vector<Tensor> arguments) {
  const std::size_t id = frames_.size();
  frames_.emplace_back();
  const auto first = static_cast<std::uint32_t>(saved_.size());
  Saved input{arguments.front().elements(), 0, arguments.front().node(), arguments.front().dtype(), false, false, 0};
  if (offload_ != Offload::none) ++saves_;  // an empty tensor is saved before the layer's input
  input.sent = send(arguments.front());
  mode_ = Mode::frame;
  dropped_ = 0;
  frame_ = static_cast<std::int32_t>(id);
  Tensor output = layers.run(*this, layer, arguments);
  frame_ = -1;
  mode_ = Mode::record;
  const auto end = static_cast<std::uint32_t>(saved_.size());
  frames_[id] = {first, end, end - first - dropped_, layer, false, &layers, section_, term_, {}, input};
  if (end > first) frames_[id].arguments = std::move(arguments);
  if (input.sent != 0 && end > first) frames_[id].arguments.front().reset();
  return output;
}

inline void Tape::refill(Frame& frame) {
  frame.done = true;
  cursor_ = frame.first_saved;
  cursor_end_ = frame.end_saved;
  mode_ = Mode::recompute;
  const Term before = std::exchange(term_, frame.term);
  recomputes_ = true;
  section_ = frame.section;
  std::vector<Tensor> arguments = frame.arguments;
  if (frame.input.sent != 0) arguments.front() = bring_back(frame.input);
  // An input that was told to require a gradient is still the leaf that it was.
  if (frame.input.node != Tensor::kNone)
    arguments.front().node_ = frame.input.node <= leaf_code(0) ? frame.input.node : kTracked;
  frame.layers->run_again(*this, frame.layer, arguments);
  held_again_.clear();
  term_ = before;
  recomputes_ = false;
  stopped_ = false;
  mode_ = Mode::record;
}

inline void Tape::reentrant_backward(Tape& tape, const Node& node, const Tensor& grad, Tensor* out) {
  const std::size_t base = tape.nodes_.size();
  const auto layer = static_cast<std::int32_t>(node.size[0]);
  const Frame& frame = tape.frames_[static_cast<std::size_t>(node.size[1])];
  const Term before = std::exchange(tape.term_, frame.term);
  Layers& layers = *frame.layers;
  tape.section_ = frame.section;
  std::vector<Tensor> arguments = frame.arguments;
  arguments.insert(arguments.begin(), node.saved > 0 ? tape.saved(node, 0)
                                                     : tape.allocate(node.input_elements[0], node.input_dtype[0]));
  arguments.front().node_ = leaf_code(tape.leaves_.size());
  tape.leaves_.push_back({{}, {}, {}, 0, false, 0, 1});
  tape.recomputes_ = true;
  Tensor output = layers.run_again(tape, layer, arguments);
  tape.recomputes_ = false;
  tape.term_ = before;
  const std::int32_t root = output.node();
  if (root >= 0) {
    tape.arrive(root, Tensor(grad));
    tape.sweep(root, base);
  }
  output.reset();
  tape.forget_from(base);
  layers.finish_again();
  out[0] = std::move(tape.leaves_.back().grad);
  tape.leaves_.pop_back();
}

inline Tensor Tape::checkpoint_reentrant(Layers& layers, std::int32_t layer, const std::vector<Tensor>& arguments,
                                         Keep keep, const Tensor& buffer) {
  mode_ = Mode::silent;
  Tensor output = layers.run(*this, layer, arguments);
  mode_ = Mode::record;
  Recording recording = record(reentrant_backward, {&arguments.front()});
  if (buffer) recording.save(buffer);
  else if (keep == Keep::on_device) recording.save(arguments.front());
  // The other arguments hang on the function that is to run again, which the graph holds to its end.
  const auto frame = static_cast<std::int64_t>(frames_.size());
  frames_.push_back({0, 0, 0, layer, true, &layers, section_, term_, {arguments.begin() + 1, arguments.end()}, {}});
  return recording.sizes(layer, frame).result(std::move(output));
}

}  // namespace qwenplan::emulate
